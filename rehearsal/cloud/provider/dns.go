package provider

import (
	"crypto/md5" //nolint:gosec // imitates the format of ACM's names, not used for security
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
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
		arn := c.ARN("acm", fmt.Sprintf("certificate/%s-%s-%s-%s-%s", aws.RandomHex(8), aws.RandomHex(4), aws.RandomHex(4), aws.RandomHex(4), aws.RandomHex(12)))
		c.fill(aws.Object{"id": arn, "arn": arn, "status": "PENDING_VALIDATION", "type": "AMAZON_ISSUED", "notAfter": "", "notBefore": "",
			"pendingRenewal": false, "renewalEligibility": "INELIGIBLE", "renewalSummaries": []any{}, "validationEmails": []any{}})
		c.obj.SetDefault("keyAlgorithm", "RSA_2048")
		c.obj.SetDefault("options", map[string]any{"certificateTransparencyLoggingPreference": "ENABLED"})
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
		err := store.Each(c.Tx.Tx, aws.LoadBalancerKind, func(_ string, b aws.LoadBalancer) error {
			if slices.Contains(b.Certificates(), c.obj.ID()) {
				usedBy = append(usedBy, "load balancer "+b.Name)
			}
			return nil
		})
		if err != nil || len(usedBy) == 0 {
			return err
		}
		return &aws.Error{Code: "ResourceInUseException", Message: fmt.Sprintf("Certificate %s in account %s is in use.", c.obj.ID(), aws.AccountID), UsedBy: usedBy, Retryable: true}
	},
}

// setNames adds the certificate's domain to its alternative names, as ACM does.
func (c *call) setNames() []string {
	names := append([]string{c.obj.Text("domainName")}, c.in.Texts("subjectAlternativeNames")...)
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	c.obj["subjectAlternativeNames"] = names
	return names
}

// validations returns the DNS records that prove control of each name. A domain and its wildcard have the same record.
func validations(names []string) (options []any) {
	for _, name := range names {
		base := strings.TrimPrefix(name, "*.")
		sum := func(what string) string {
			s := md5.Sum([]byte(aws.AccountID + what + base)) //nolint:gosec // see the import
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
		arn := c.obj.Text("certificateArn")
		cert, err := c.Require("certificate", arn)
		if err != nil {
			return err
		}
		given, missing := c.obj.Texts("validationRecordFqdns"), []string{}
		for _, option := range cert.Objects("domainValidationOptions") {
			name := strings.TrimSuffix(option.Text("resourceRecordName"), ".")
			if len(given) > 0 && !slices.ContainsFunc(given, func(s string) bool { return strings.TrimSuffix(s, ".") == name }) {
				return aws.Refuse("", "missing %s DNS validation record: %s", option.Text("domainName"), name)
			}
			records, err := c.Where("record", "fqdn", name)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(records, func(o aws.Object) bool {
				return slices.ContainsFunc(o.Texts("records"), func(s string) bool {
					return strings.TrimSuffix(s, ".")+"." == option.Text("resourceRecordValue")
				})
			}) {
				missing = append(missing, "record "+name)
			}
		}
		if len(missing) > 0 {
			return &aws.Error{Message: "waiting for ACM Certificate (" + arn + ") to be issued: timeout while waiting for state to become 'ISSUED' (last state: 'PENDING_VALIDATION')",
				UsedBy: slices.Compact(missing), Retryable: true}
		}
		cert["status"] = "ISSUED"
		if err := c.Keep("certificate", cert); err != nil {
			return err
		}
		// The provider uses the time of issue as the ID of a validation.
		c.fill(aws.Object{"id": time.Now().UTC().Format("2006-01-02 15:04:05.999 +0000 UTC")})
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
		zone := strings.TrimPrefix(c.obj.Text("zoneId"), "/hostedzone/")
		name := c.obj.Text("name")
		domain, ok, err := c.ZoneName(zone, name)
		if err != nil {
			return err
		}
		if !ok {
			return &aws.Error{Code: "NoSuchHostedZone", Message: "No hosted zone found with ID: " + zone, Operation: "GetHostedZone",
				During: fmt.Sprintf("reading Route 53 Hosted Zone (%s)", zone)}
		}
		id := zone + "_" + name + "_" + c.obj.Text("type")
		other, err := c.Find("record", id)
		if err != nil {
			return err
		}
		if other != nil && !c.obj.Flag("allowOverwrite") {
			return aws.Refuse("InvalidChangeBatch", "[Tried to create resource record set [name='%s.', type='%s'] but it already exists]", name, c.obj.Text("type"))
		}
		c.fill(aws.Object{"id": id, "fqdn": recordName(name, domain)})
		return c.checkRecordValues()
	},
	update: (*call).checkRecordValues,
}

func (c *call) checkRecordValues() error {
	for _, v := range c.obj.Texts("records") {
		if err := aws.CheckRecordValue(c.obj.Text("type"), v); err != nil {
			return err
		}
	}
	return nil
}

// recordName returns the record name that the provider sends: it appends the zone's name unless the name ends with it.
// So a record of another domain is created without an error, but under a name that nobody looks up.
func recordName(name, zone string) string {
	if strings.HasSuffix(name, zone) {
		return name
	}
	return name + "." + zone
}
