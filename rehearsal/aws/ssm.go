package aws

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/plugin"
)

const (
	// A parameter's value has 4 KiB in the standard tier and 8 in the advanced one; its path 15 levels.
	standardValue, advancedValue, parameterLevels = 4096, 8192, 15
	secureString                                  = "SecureString"
)

var parameter = spec{
	title: "SSM Parameter", service: "SSM", calls: calls{"PutParameter", "PutParameter", "DeleteParameter"},
	inputs: inputs{
		"name": text(required, replaces, valid(parameterName)),
		// In place: the provider overwrites the value with its new type.
		"type":           text(required, oneOf("String", "StringList", secureString)),
		"value":          text(computed, valid(notEmpty)),
		"insecureValue":  text(computed, valid(notEmpty)),
		"description":    text(lengthBetween(0, 1024)),
		"allowedPattern": text(lengthBetween(0, 1024), valid(pattern)),
		"dataType":       text(replaces, computed, oneOf("text", "aws:ec2:image", "aws:ssm:integration")),
		"keyId":          text(computed),
		"overwrite":      flag(),
		"tier":           text(computed, oneOf("Standard", "Advanced", "Intelligent-Tiering")),
		"tags":           ownTags,
	},
	outputs: []string{"arn", "version"},
	check: func(in resource.PropertyMap) []plugin.Failure {
		failures := exactlyOne(in, "value", "insecureValue")
		if typ, _ := textOf(in, "type"); typ == secureString && has(in, "insecureValue") {
			failures = append(failures, plugin.Failure{Property: "insecureValue", Reason: "invalid configuration, cannot set type = SecureString and insecureValue"})
		}
		return failures
	},
	diff: func(r *plugin.Request, d plugin.Diff) {
		if change, ok := d.Changed["tier"]; ok {
			old, _ := textOf(r.OldInputs, "tier")
			now, _ := textOf(r.Inputs, "tier")
			// AWS has no way back from the advanced tier.
			change.Replaces = old == "Advanced" && now == "Standard"
			d.Changed["tier"] = change
		}
	},
	create: func(c *call) error {
		name := c.it.text("name")
		other, err := c.get("parameter", name)
		if err != nil {
			return err
		}
		if other != nil && !c.it.flag("overwrite") {
			return refuse("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
		}
		version := 1.0
		if other != nil {
			version += other.number("version")
		}
		c.fill(object{"id": name, "arn": c.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/")), "version": version})
		return c.fitsTier()
	},
	update: func(c *call) error {
		if len(c.changes()) > 0 {
			c.it["version"] = c.old.number("version") + 1
		}
		return c.fitsTier()
	},
	changes: (*call).changes,
}

// changes: every PutParameter makes another version; tags are set by another call.
func (c *call) changes() []string {
	if c.changed("value", "insecureValue", "type", "description", "tier", "allowedPattern", "keyId") {
		return []string{"version"}
	}
	return nil
}

// fitsTier verifies the value. No message repeats it: it may be a secret.
func (c *call) fitsTier() error {
	value := c.in.text("value") + c.in.text("insecureValue")
	key := ""
	if c.it.text("type") == secureString {
		key = "alias/aws/ssm"
	}
	for name, v := range map[string]any{"tier": "Standard", "dataType": "text", "keyId": key} {
		c.it.or(name, v)
	}
	c.it["value"], c.it["insecureValue"] = c.in.text("value"), c.in.text("insecureValue")
	if c.it.text("tier") == "Intelligent-Tiering" {
		c.it["tier"] = "Standard"
		if len(value) > standardValue {
			c.it["tier"] = "Advanced"
		}
	}
	if len(value) > standardValue && c.it.text("tier") == "Standard" {
		return refuse("ValidationException", "Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", standardValue)
	}
	if len(value) > advancedValue {
		return refuse("ValidationException", "Advanced tier parameters support a maximum parameter value of %d characters.", advancedValue)
	}
	if p := c.it.text("allowedPattern"); p != "" && !regexp.MustCompile(p).MatchString(value) {
		return refuse("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", p)
	}
	return nil
}

var parameterChars = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// parameterName checks a name or a path of names.
func parameterName(s string) string {
	trimmed := strings.ToLower(strings.TrimPrefix(s, "/"))
	switch {
	case !parameterChars.MatchString(s):
		return fmt.Sprintf("Parameter name: only a mix of letters, numbers and the following 4 symbols .-_/ is allowed: %q", s)
	case len(s) > 1011:
		return "Parameter name: can't be longer than 1011 characters"
	case strings.Contains(s, "/") && !strings.HasPrefix(s, "/"):
		return fmt.Sprintf("Parameter name must be a fully qualified name: %q has a path and does not begin with a slash", s)
	case strings.HasSuffix(s, "/") || strings.Contains(s, "//"):
		return fmt.Sprintf("Parameter name must not have empty levels: %q", s)
	case strings.Count(s, "/") > parameterLevels:
		return fmt.Sprintf("Parameter name has more than %d levels: %q", parameterLevels, s)
	case strings.HasPrefix(trimmed, "aws") || strings.HasPrefix(trimmed, "ssm"):
		return fmt.Sprintf("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive): %q", s)
	}
	return ""
}

func notEmpty(s string) string {
	if s == "" {
		return "a parameter's value has at least 1 character"
	}
	return ""
}

func pattern(s string) string {
	if _, err := regexp.Compile(s); err != nil {
		return err.Error()
	}
	return ""
}
