package provider

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

const (
	// A parameter's value has at most 4 KiB in the standard tier and 8 KiB in the advanced one; its path at most 15
	// levels.
	standardValue, advancedValue, parameterLevels = 4096, 8192, 15
	secureString                                  = "SecureString"
)

var parameter = spec{
	title: "SSM Parameter", service: "SSM", calls: calls{"PutParameter", "PutParameter", "DeleteParameter"},
	inputs: inputs{
		"name": text(required, replaces, valid(parameterName)),
		// A change of type is an update: the provider overwrites the parameter with the new type.
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
			// AWS cannot move a parameter back from the advanced tier.
			change.Replaces = old == "Advanced" && now == "Standard"
			d.Changed["tier"] = change
		}
	},
	create: func(c *call) error {
		name := c.obj.Text("name")
		other, err := c.Find("parameter", name)
		if err != nil {
			return err
		}
		if other != nil && !c.obj.Flag("overwrite") {
			return aws.Refuse("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
		}
		version := 1.0
		if other != nil {
			version += other.Number("version")
		}
		c.fill(aws.Object{"id": name, "arn": c.ARN("ssm", "parameter/"+strings.TrimPrefix(name, "/")), "version": version})
		return c.applyTier()
	},
	update: func(c *call) error {
		if len(c.changedOutputs()) > 0 {
			c.obj["version"] = c.old.Number("version") + 1
		}
		return c.applyTier()
	},
	changedOutputs: (*call).changedOutputs,
}

// changedOutputs: every PutParameter increments the version; tags are set by a different call.
func (c *call) changedOutputs() []string {
	if c.changed("value", "insecureValue", "type", "description", "tier", "allowedPattern", "keyId") {
		return []string{"version"}
	}
	return nil
}

// applyTier fills in the defaults, chooses the tier, and checks the value against the tier's limit and the allowed
// pattern. No message contains the value, as it may be a secret.
func (c *call) applyTier() error {
	value := c.in.Text("value") + c.in.Text("insecureValue")
	key := ""
	if c.obj.Text("type") == secureString {
		key = "alias/aws/ssm"
	}
	for name, v := range map[string]any{"tier": "Standard", "dataType": "text", "keyId": key} {
		c.obj.SetDefault(name, v)
	}
	c.obj["value"], c.obj["insecureValue"] = c.in.Text("value"), c.in.Text("insecureValue")
	if c.obj.Text("tier") == "Intelligent-Tiering" {
		c.obj["tier"] = "Standard"
		if len(value) > standardValue {
			c.obj["tier"] = "Advanced"
		}
	}
	if len(value) > standardValue && c.obj.Text("tier") == "Standard" {
		return aws.Refuse("ValidationException", "Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", standardValue)
	}
	if len(value) > advancedValue {
		return aws.Refuse("ValidationException", "Advanced tier parameters support a maximum parameter value of %d characters.", advancedValue)
	}
	if p := c.obj.Text("allowedPattern"); p != "" && !regexp.MustCompile(p).MatchString(value) {
		return aws.Refuse("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", p)
	}
	return nil
}

var parameterChars = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// parameterName validates a parameter's name, which may be a path.
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
