package infra

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// inboundRules records the inbound rules that a test declares, by their names. It implements Pulumi's mocks.
type inboundRules struct {
	mu    sync.Mutex
	ports map[string]string
}

func (r *inboundRules) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.TypeToken == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule" {
		r.mu.Lock()
		defer r.mu.Unlock()
		in := args.Inputs
		r.ports[args.Name] = "all"
		if in.HasValue("fromPort") {
			r.ports[args.Name] = fmt.Sprintf("%v-%v from %s",
				in["fromPort"].NumberValue(), in["toPort"].NumberValue(), in["cidrIpv4"].StringValue())
		}
	}
	return args.Name + "-id", args.Inputs, nil
}

func (r *inboundRules) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("the group called %s, which the test does not expect", args.Token)
}

// The group has a rule for each network of the settings and each port, which config counts, and one for itself.
func TestTheGroupHasTheRulesOfTheSettings(t *testing.T) {
	admin, nodePorts := netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("198.51.100.0/24")
	want := map[string]string{
		"self":                      "all",
		"ssh-203.0.113.7-32":        "22-22 from 203.0.113.7/32",
		"api-203.0.113.7-32":        "6443-6443 from 203.0.113.7/32",
		"nodeports-198.51.100.0-24": "30000-32767 from 198.51.100.0/24",
	}
	for _, domain := range []string{"", "dev.example.com"} {
		c := config.Config{AdminCidrs: []netip.Prefix{admin}, NodePortCidrs: []netip.Prefix{nodePorts}, Domain: domain}
		if domain != "" {
			want["http-0.0.0.0-0"], want["https-0.0.0.0-0"] = "80-80 from 0.0.0.0/0", "443-443 from 0.0.0.0/0"
			want["argocd-203.0.113.7-32"] = "8443-8443 from 203.0.113.7/32"
		}
		declared := &inboundRules{ports: map[string]string{}}
		require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error {
			vpc, err := ec2.NewVpc(ctx, "network", &ec2.VpcArgs{})
			if err != nil {
				return err
			}
			_, err = newSecurityGroup(ctx, "cluster", &securityGroupArgs{ClusterName: c.Name, VPC: vpc, Rules: c.InboundRules()})
			return err
		}, pulumi.WithMocks("eco2", "dev", declared)))
		assert.Equal(t, want, declared.ports)
		assert.Len(t, c.InboundRules(), len(declared.ports)-1, "config adds the group's own rule")
	}
}
