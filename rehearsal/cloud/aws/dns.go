package aws

import (
	"crypto/md5" //nolint:gosec // imitates the format of ACM's names, not used for security
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/store"
)

// domainName validates a host name, or a wildcard for one level.
var domainName = matching(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$`, "a domain name without a dot at its end")

var certificate = spec{
	title: "ACM Certificate", service: "ACM", calls: calls{"RequestCertificate", "UpdateCertificateOptions", "DeleteCertificate"},
	inputs: inputs{
		"domainName":              text(required, replaces, domainName),
		"subjectAlternativeNames": texts(replaces, computed, domainName),
		"validationMethod":        text(required, replaces, oneOf("DNS", "EMAIL")),
		"keyAlgorithm":            text(replaces, computed, oneOf("RSA_2048", "EC_prime256v1", "EC_secp384r1")),
		"options":                 nested(inputs{"certificateTransparencyLoggingPreference": text(fallback("ENABLED"), oneOf("ENABLED", "DISABLED"))}, computed),
		"tags":                    ownTags,
	},
	outputs: []string{"arn", "domainValidationOptions", "notAfter", "notBefore", "pendingRenewal", "renewalEligibility",
		"renewalSummaries", "status", "type", "validationEmails"},
	create: func(c *call) error {
		arn := c.arn("acm", fmt.Sprintf("certificate/%s-%s-%s-%s-%s", randomHex(8), randomHex(4), randomHex(4), randomHex(4), randomHex(12)))
		c.fill(object{"id": arn, "arn": arn, "status": "PENDING_VALIDATION", "type": "AMAZON_ISSUED", "notAfter": "", "notBefore": "",
			"pendingRenewal": false, "renewalEligibility": "INELIGIBLE", "renewalSummaries": []any{}, "validationEmails": []any{}})
		c.obj.setDefault("keyAlgorithm", "RSA_2048")
		c.obj.setDefault("options", map[string]any{"certificateTransparencyLoggingPreference": "ENABLED"})
		c.obj["domainValidationOptions"] = validations(c.setNames())
		return nil
	},
	update: func(c *call) error {
		c.setNames()
		return nil
	},
	timeout: 20 * time.Minute, fixedTimeout: true,
	remove: func(c *call) error {
		var usedBy []string
		err := store.Each(c.Tx, LoadBalancerKind, func(_ string, b LoadBalancer) error {
			if slices.Contains(b.Certificates(), c.obj.id()) {
				usedBy = append(usedBy, "load balancer "+b.Name)
			}
			return nil
		})
		if err != nil || len(usedBy) == 0 {
			return err
		}
		return &apiError{code: "ResourceInUseException", message: fmt.Sprintf("Certificate %s in account %s is in use.", c.obj.id(), AccountID), usedBy: usedBy, retryable: true}
	},
}

// setNames adds the certificate's domain to its alternative names, as ACM does.
func (c *call) setNames() []string {
	names := append([]string{c.obj.text("domainName")}, c.in.texts("subjectAlternativeNames")...)
	names = slices.Compact(sorted(names))
	c.obj["subjectAlternativeNames"] = names
	return names
}

// validations returns the DNS records that prove control of each name. A domain and its wildcard have the same record.
func validations(names []string) (options []any) {
	for _, name := range names {
		base := strings.TrimPrefix(name, "*.")
		sum := func(what string) string {
			s := md5.Sum([]byte(AccountID + what + base)) //nolint:gosec // see the import
			return hex.EncodeToString(s[:])
		}
		options = append(options, map[string]any{"domainName": name, "resourceRecordType": "CNAME",
			"resourceRecordName":  "_" + sum("name") + "." + base + ".",
			"resourceRecordValue": "_" + sum("value") + "." + sum("zone")[:10] + ".acm-validations.aws."})
	}
	return options
}

var certificateValidation = spec{
	title: "ACM Certificate Validation", service: "ACM", calls: calls{create: "DescribeCertificate"},
	inputs: inputs{
		"certificateArn":        text(required, replaces),
		"validationRecordFqdns": texts(replaces),
	},
	timeout: 75 * time.Minute,
	create: func(c *call) error {
		arn := c.obj.text("certificateArn")
		cert, err := c.require("certificate", arn)
		if err != nil {
			return err
		}
		given, missing := c.obj.texts("validationRecordFqdns"), []string{}
		for _, option := range cert.objects("domainValidationOptions") {
			name := strings.TrimSuffix(option.text("resourceRecordName"), ".")
			if len(given) > 0 && !slices.ContainsFunc(given, func(s string) bool { return strings.TrimSuffix(s, ".") == name }) {
				return refuse("", "missing %s DNS validation record: %s", option.text("domainName"), name)
			}
			records, err := c.where("record", "fqdn", name)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(records, func(o object) bool {
				return slices.ContainsFunc(o.texts("records"), func(s string) bool {
					return strings.TrimSuffix(s, ".")+"." == option.text("resourceRecordValue")
				})
			}) {
				missing = append(missing, "record "+name)
			}
		}
		if len(missing) > 0 {
			return &apiError{message: "waiting for ACM Certificate (" + arn + ") to be issued: timeout while waiting for state to become 'ISSUED' (last state: 'PENDING_VALIDATION')",
				usedBy: slices.Compact(missing), retryable: true}
		}
		cert["status"] = "ISSUED"
		if err := c.put("certificate", cert); err != nil {
			return err
		}
		// The provider uses the time of issue as the ID of a validation.
		c.fill(object{"id": time.Now().UTC().Format("2006-01-02 15:04:05.999 +0000 UTC")})
		return nil
	},
}

var record = spec{
	title: "Route53 Record", service: "Route 53",
	calls: calls{"ChangeResourceRecordSets", "ChangeResourceRecordSets", "ChangeResourceRecordSets"},
	inputs: inputs{
		"zoneId": text(required, replaces, matching(`^(/hostedzone/)?Z[A-Z0-9]{1,31}$`, `the id of a hosted zone`)),
		"name":   text(required, replaces),
		// The provider can change the type in place, which changes the ID; the engine cannot represent that, so here it
		// replaces.
		"type":           text(required, replaces, oneOf("A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT")),
		"ttl":            number(between(0, 2147483647)),
		"records":        texts(),
		"allowOverwrite": flag(computed),
		"aliases": list(inputs{
			"name": text(required), "zoneId": text(required), "evaluateTargetHealth": flag(required),
		}),
	},
	outputs: []string{"fqdn"},
	check: func(in resource.PropertyMap) []plugin.Failure {
		failures := exactlyOne(in, "records", "aliases")
		if has(in, "records") != has(in, "ttl") {
			failures = append(failures, plugin.Failure{Property: "ttl", Reason: "records have a ttl, and aliases have none"})
		}
		return failures
	},
	normalize: func(in resource.PropertyMap) {
		if name, ok := textOf(in, "name"); ok {
			in["name"] = resource.NewStringProperty(strings.ToLower(strings.TrimSuffix(name, ".")))
		}
	},
	create: func(c *call) error {
		zone := strings.TrimPrefix(c.obj.text("zoneId"), "/hostedzone/")
		name := c.obj.text("name")
		domain, ok, err := c.zoneName(zone, name)
		if err != nil {
			return err
		}
		if !ok {
			return &apiError{code: "NoSuchHostedZone", message: "No hosted zone found with ID: " + zone, operation: "GetHostedZone",
				during: fmt.Sprintf("reading Route 53 Hosted Zone (%s)", zone)}
		}
		id := zone + "_" + name + "_" + c.obj.text("type")
		other, err := c.get("record", id)
		if err != nil {
			return err
		}
		if other != nil && !c.obj.flag("allowOverwrite") {
			return refuse("InvalidChangeBatch", "[Tried to create resource record set [name='%s.', type='%s'] but it already exists]", name, c.obj.text("type"))
		}
		c.fill(object{"id": id, "fqdn": recordName(name, domain)})
		return c.checkRecordValues()
	},
	update: (*call).checkRecordValues,
}

func (c *call) checkRecordValues() error {
	for _, v := range c.obj.texts("records") {
		if err := checkRecordValue(c.obj.text("type"), v); err != nil {
			return err
		}
	}
	return nil
}

func checkRecordValue(typ, value string) error {
	ip, err := netip.ParseAddr(value)
	switch {
	case typ == "A" && (err != nil || !ip.Is4()):
		return refuse("InvalidChangeBatch", "[Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address) encountered with '%s'']", value)
	case typ == "AAAA" && (err != nil || !ip.Is6()):
		return refuse("InvalidChangeBatch", "[Invalid Resource Record: 'FATAL problem: AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address) encountered with '%s'']", value)
	}
	return nil
}
