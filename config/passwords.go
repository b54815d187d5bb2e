package config

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Passwords holds the passwords that are stored in SSM as SecureStrings. External Secrets copies them to the workloads.
// Each must be set, as a secret: one line of at most 4096 bytes, without white space at its ends and without "{{".
type Passwords struct {
	Postgres, Redis, RabbitMQ pulumi.StringOutput
	// Grafana is the password of Grafana's user admin.
	Grafana pulumi.StringOutput
}

// maxPassword is the maximum size in bytes of a parameter of SSM's standard tier.
const maxPassword = 4096

// password reads a secret that must be set. It reports values that AWS would reject or that would reach a workload
// altered.
func (r *reader) password(name string) pulumi.StringOutput {
	value, _ := r.ctx.GetConfig(r.key(name)) // not with text, which trims white space
	set := "pulumi config set --secret " + r.key(name)
	switch {
	case strings.TrimSpace(value) == "":
		r.problem(name, "is missing; set it with: %s", set)
	case !r.ctx.IsConfigSecret(r.key(name)):
		r.problem(name, "is in plain text; set it with: %s", set)
	case len(value) > maxPassword:
		r.problem(name, "is %d bytes long; an SSM parameter holds %d", len(value), maxPassword)
	case value != strings.TrimSpace(value):
		r.problem(name, "starts or ends with white space, which is easily lost when it is copied; set it without: %s",
			set)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		r.problem(name, "contains a line break, a tab or another control character, or is not valid UTF-8; "+
			"set a single line of text: %s", set)
	case strings.Contains(value, "{{"):
		r.problem(name, `contains "{{", which SSM takes for a reference to another parameter and rejects; `+
			"set another value: %s", set)
	}
	return secret(value)
}
