package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Parameters are the values that workloads and people outside this program read from SSM. Each says in
// its description who does; one without a reader has no place here.
type Parameters struct {
	pulumi.ResourceState

	versions map[string]pulumi.IntOutput
}

// Version is the number of a parameter's value: it grows with each change. Empty for a name that is not there.
func (p *Parameters) Version(name string) pulumi.IntOutput { return p.versions[name] }

// Parameter is one value.
type Parameter struct {
	// Name stands below the stack's prefix: "network/vpc-id".
	Name string
	// Type is String, StringList or SecureString.
	Type   string
	Value  pulumi.StringInput
	Reader string
}

// NewParameters declares the parameters below prefix.
func NewParameters(ctx *pulumi.Context, name, prefix string, parameters []Parameter, opts ...pulumi.ResourceOption) (*Parameters, error) {
	p := &Parameters{versions: map[string]pulumi.IntOutput{}}
	if err := ctx.RegisterComponentResource("eco2:infra:Parameters", name, p, opts...); err != nil {
		return nil, fmt.Errorf("registering parameters %s: %w", name, err)
	}
	for _, parameter := range parameters {
		made, err := ssm.NewParameter(ctx, strings.ReplaceAll(parameter.Name, "/", "-"), &ssm.ParameterArgs{
			Name:        pulumi.String(prefix + "/" + parameter.Name),
			Type:        pulumi.String(parameter.Type),
			Value:       parameter.Value,
			Description: pulumi.String("Read by " + parameter.Reader),
		}, pulumi.Parent(p))
		if err != nil {
			return nil, fmt.Errorf("creating parameter %s: %w", parameter.Name, err)
		}
		p.versions[parameter.Name] = made.Version
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{})
}

// joinComma is the form of a StringList.
func joinComma(values []string) string { return strings.Join(values, ",") }
