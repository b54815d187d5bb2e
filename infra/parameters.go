package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// Parameters holds the SSM parameters that workloads and people outside this program read. The description of each
// names its reader; a value without a reader does not belong here.
type Parameters struct {
	pulumi.ResourceState
	component.Children

	versions map[string]pulumi.IntOutput
}

// Version returns the version of a parameter, which SSM increments with each change of its value. It returns the zero
// value for a name that was not declared.
func (p *Parameters) Version(name string) pulumi.IntOutput { return p.versions[name] }

// parameter is one SSM parameter.
type parameter struct {
	// Name is relative to the stack's prefix: "network/vpc-id".
	Name string
	// Type is String, StringList or SecureString.
	Type  string
	Value pulumi.StringInput
	// Reader names who reads the value; the parameter's description shows it.
	Reader string
}

// parametersArgs holds the parameters' inputs.
type parametersArgs struct {
	// Prefix is the path below which the parameters are: "/eco2/dev".
	Prefix     string
	Parameters []parameter
}

// newParameters declares the parameters.
func newParameters(ctx *pulumi.Context, name string, args *parametersArgs, opts ...pulumi.ResourceOption) (*Parameters, error) {
	p := &Parameters{versions: map[string]pulumi.IntOutput{}}
	if err := component.Register(ctx, "eco2:infra:Parameters", name, p, opts...); err != nil {
		return nil, err
	}
	for _, parameter := range args.Parameters {
		declared, err := ssm.NewParameter(ctx, strings.ReplaceAll(parameter.Name, "/", "-"), &ssm.ParameterArgs{
			Name:        pulumi.String(args.Prefix + "/" + parameter.Name),
			Type:        pulumi.String(parameter.Type),
			Value:       parameter.Value,
			Description: pulumi.String("Read by " + parameter.Reader),
		}, pulumi.Parent(p))
		if err != nil {
			return nil, fmt.Errorf("creating parameter %s: %w", parameter.Name, err)
		}
		p.versions[parameter.Name] = declared.Version
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{})
}

// joinComma formats values as SSM expects a StringList.
func joinComma(values []string) string { return strings.Join(values, ",") }
