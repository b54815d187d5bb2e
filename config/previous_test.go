package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// previousOutput returns the output "made" of an update of dev with the tests' settings and these changes.
func previousOutput(change values) values {
	output := values{
		"name": "eco2-dev", "region": "ap-northeast-2", "vpcCidr": "10.0.0.0/16", "podCidr": "192.168.0.0/16",
		"serviceCidr": "10.96.0.0/12", "zones": values{}, "adminCidrs": []any{"198.51.100.7/32"},
		"nodePortCidrs": []any{}, "domain": "dev.growbin.app", "platform": true,
	}
	maps.Copy(output, change)
	return output
}

// A run reads the settings that the previous one recorded.
func TestOutputIsReadByTheNextRun(t *testing.T) {
	s := newStack(t, values{"nodePortCidrs": []string{"192.0.2.0/24"}, "restoreFrom": "snap-0123456789abcdef0"})
	output, err := json.Marshal(s.mustLoad(t).Output(pulumi.StringMap{"k8s-master": pulumi.String("ap-northeast-2a")}, pulumi.String("10.0.0.10"), pulumi.String("2027-11-29")))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(output, &s.previous))
	assert.Equal(t, Previous{
		Name: "eco2-dev", Region: "ap-northeast-2", VpcCidr: "10.0.0.0/16", PodCidr: "192.168.0.0/16",
		ServiceCidr: "10.96.0.0/12", Zones: map[string]string{"k8s-master": "ap-northeast-2a"}, ControlPlane: "10.0.0.10",
		AdminCidrs: []string{"198.51.100.7/32"}, NodePortCidrs: []string{"192.0.2.0/24"},
		Domain: "dev.growbin.app", Platform: true, Kubernetes: DefaultVersions.Kubernetes, CertificatesExpire: "2027-11-29", RestoreFrom: "snap-0123456789abcdef0",
	}, s.mustLoad(t).Previous)
}

// Earlier versions of the program recorded the control plane's address only for people.
func TestTheControlPlanesAddressIsReadFromAnOlderOutput(t *testing.T) {
	s := newStack(t, nil)
	s.previous = previousOutput(nil)
	s.nodes = values{"k8s-master": "t3.xlarge ap-northeast-2a i-0123456789abcdef0 10.0.7.23", "k8s-redis": "t3.medium ap-northeast-2b i-1 10.0.16.9"}
	assert.Equal(t, "10.0.7.23", s.mustLoad(t).Previous.ControlPlane)
	s.previous["controlPlane"] = "10.0.0.10"
	assert.Equal(t, "10.0.0.10", s.mustLoad(t).Previous.ControlPlane)
}

// Changes that an existing cluster does not survive are refused. Nothing is refused if the previous settings are
// unknown.
func TestAClusterKeepsItsRegionNetworksAndName(t *testing.T) {
	const instructions = `to replace the cluster on purpose, see "Another region, network or name" in docs/operations.md`
	refused := func(key, was, is string) string {
		return fmt.Sprintf("eco2:%s: the cluster was created with %s, and %s would replace all of it; restore it with: "+
			"pulumi config set eco2:%s %s; %s", key, was, is, key, was, instructions)
	}
	for _, test := range []struct {
		name     string
		previous values
		want     string
	}{
		{"a new stack", nil, ""},
		{"unchanged", previousOutput(nil), ""},
		{"an output without some fields", values{"name": "eco2-dev"}, ""},
		{"region", previousOutput(values{"region": "eu-central-1"}), refused("region", "eu-central-1", "ap-northeast-2")},
		{"VPC", previousOutput(values{"vpcCidr": "10.9.0.0/16"}), refused("vpcCidr", "10.9.0.0/16", "10.0.0.0/16")},
		{"pods", previousOutput(values{"podCidr": "172.16.0.0/16"}), refused("podCidr", "172.16.0.0/16", "192.168.0.0/16")},
		{"services", previousOutput(values{"serviceCidr": "10.112.0.0/12"}),
			refused("serviceCidr", "10.112.0.0/12", "10.96.0.0/12")},
		{"a renamed stack", previousOutput(values{"name": "eco2-test"}),
			`stack name: the cluster was created as "eco2-test" and would be replaced by "eco2-dev"; restore the old name ` +
				"with " +
				"pulumi stack rename, or create a separate new stack; " + instructions},
		{"a renamed project", previousOutput(values{"name": "eco-dev"}),
			`stack name: the cluster was created as "eco-dev" and would be replaced by "eco2-dev"; restore the old name with ` +
				"pulumi stack rename, or create a separate new stack; " + instructions},
		{"the control plane's zone", previousOutput(values{"zones": values{"k8s-master": "ap-northeast-2d"}}),
			"eco2:zones: does not contain ap-northeast-2d, the zone of k8s-master, whose replacement would be an empty " +
				"cluster; add it again; " + instructions},
		{"a worker's zone", previousOutput(values{"zones": values{"k8s-redis": "ap-northeast-2d"}}), ""},
		{"what may change", previousOutput(values{
			"domain": "", "platform": false, "adminCidrs": []any{"203.0.113.1/32"},
		}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStack(t, nil)
			s.previous = test.previous
			if test.want != "" {
				s.requireProblems(t, test.want)
				return
			}
			s.mustLoad(t)
		})
	}
}

// A missing network is reported once, and not also as a change.
func TestAMissingNetworkIsOneProblem(t *testing.T) {
	s := newStack(t, values{"vpcCidr": ""})
	s.previous = previousOutput(nil)
	s.requireProblems(t, "eco2:vpcCidr: is missing; set an IPv4 network such as 10.0.0.0/16")
}

// Removing the platform gives a warning about the data that is deleted with it. A bare cluster has nothing to lose.
func TestRemovingThePlatformGivesAWarning(t *testing.T) {
	const warning = "eco2:platform: this update deletes the platform, and with it all volume claims and their data; " +
		"see docs/operations.md, 'Taking the platform away'"
	for _, test := range []struct {
		name     string
		previous values
		platform bool
		want     []string
	}{
		{"it stays", previousOutput(nil), true, nil},
		{"a new stack", nil, false, nil},
		{"a bare cluster", previousOutput(values{"platform": false}), false, nil},
		{"it goes", previousOutput(nil), false, []string{warning}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStack(t, values{"platform": test.platform})
			s.previous = test.previous
			s.mustLoad(t)
			assert.Equal(t, test.want, s.warnings)
		})
	}
}
