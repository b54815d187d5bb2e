package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// If a setting is invalid, nothing is declared. Package config tests which settings are.
func TestInvalidSettingsDeclareNothing(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:vpcCidr"] = ""
	g, err := run("dev", values)
	require.ErrorContains(t, err, "the configuration of stack dev has 1 problem(s):\n  eco2:vpcCidr: is missing")
	for _, r := range g.resources {
		assert.Equal(t, "pulumi:pulumi:Stack", r.Type, r.URN)
	}
}

// Values close to invalid ones reach their resources unchanged.
func TestUnusualSettingsReachTheirResources(t *testing.T) {
	values := settings(t, "prod")
	domain := strings.Repeat("a", 52) + ".growbin.app"
	const repository, password = "git@github.com:example/workloads.git", `p"{ }}ä$'\ ~`
	values["eco2:domain"] = domain
	values["eco2:podCidr"] = "192.168.0.0/20"
	values["eco2:nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 3, "instanceType": "m7i-flex.large"}}
	values["eco2:adminCidrs"] = []string{"0.0.0.0/2", "10.0.0.0/8", "203.0.113.7/32"}
	values["eco2:redisPassword"] = password
	values["eco2:gitops"] = map[string]any{"repository": repository, "revision": "main", "path": "apps"}
	g, err := run("prod", values)
	require.NoError(t, err)
	assert.Len(t, g.ofType(instanceType), 16)
	assert.Equal(t, domain, g.named(t, "aws:acm/certificate:Certificate", "domain").Inputs["domainName"].StringValue())
	parameter := g.named(t, "aws:ssm/parameter:Parameter", "data-redis-password").Inputs["value"]
	assert.Equal(t, password, parameter.SecretValue().Element.StringValue())
	var root string
	for _, r := range g.resources {
		if r.Type == "kubernetes:argoproj.io/v1alpha1:Application" {
			root = r.Inputs["spec"].ObjectValue()["source"].ObjectValue()["repoURL"].StringValue()
		}
	}
	assert.Equal(t, repository, root)
}

// A key with Windows line endings is converted to what OpenSSH reads, so it is the same connection as without them.
func TestKeyWithWindowsLineEndings(t *testing.T) {
	connection := func(key string) string {
		values := settings(t, "dev")
		values["eco2:sshPrivateKey"] = key
		g, err := run("dev", values)
		require.NoError(t, err)
		return fmt.Sprint(g.named(t, commandType, "prepare-k8s-redis").Inputs["connection"])
	}
	clean := connection(strings.TrimSpace(privateKey()))
	assert.NotContains(t, clean, `\r`)
	assert.Equal(t, clean, connection(strings.ReplaceAll(privateKey(), "\n", "\r\n")))
}

// A configured version is the one that is installed.
func TestConfiguredVersionIsInstalled(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:versions"] = map[string]any{"argocd": "v3.4.7", "untested": true}
	g, err := run("dev", values)
	require.NoError(t, err)
	assert.Contains(t, g.named(t, commandType, "argocd").Inputs["create"].StringValue(), "argo-cd/v3.4.7/manifests/install.yaml")
}

// TestNodeOverrides checks that a stack's overrides change its machines.
func TestNodeOverrides(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:nodes"] = map[string]any{
		"k8s-redis":     map[string]any{"instanceType": "r6i.large", "diskGb": 100},
		"k8s-worker-ai": map[string]any{"count": 3},
		"k8s-api-chat":  map[string]any{"count": 0},
	}
	g, err := run("dev", values)
	require.NoError(t, err)
	redis := g.named(t, instanceType, "k8s-redis").Inputs
	assert.Equal(t, "r6i.large", redis["instanceType"].StringValue())
	assert.Equal(t, 100.0, redis["rootBlockDevice"].ObjectValue()["volumeSize"].NumberValue())
	g.named(t, instanceType, "k8s-worker-ai-3")
	assert.Len(t, g.ofType(instanceType), 15)
	ready := g.named(t, commandType, "ready").Inputs["create"].StringValue()
	assert.Contains(t, ready, "k8s-worker-ai,k8s-worker-ai-2,k8s-worker-ai-3")
	assert.NotContains(t, ready, "k8s-api-chat")
}

// A stack can set the checksum of a manifest that its mirror serves with other content; the others stay pinned. The
// same holds for custom resource definitions in a single file, but not in several, because there is one checksum per
// release.
func TestMirrorChecksumReplacesThePinnedOne(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	pinned := mustRun(t, "dev")
	creates := func(r *declared) string {
		line, _ := r.Inputs["create"].V.(string) // empty for the sweeps, which have only a delete script
		return line
	}
	checked := 0
	for _, command := range pinned.ofType(commandType) {
		script := creates(command)
		name, crds := strings.CutPrefix(command.Name, "crds-")
		if !crds && name != "calico" && name != "argocd" || strings.Count(script, "https://") != 1 {
			continue
		}
		checked++
		t.Run(name, func(t *testing.T) {
			values := settings(t, "dev")
			values["eco2:mirror"] = map[string]any{"files": "https://mirror.example", "sha256": map[string]any{name: sum}}
			g, err := run("dev", values)
			require.NoError(t, err)
			for _, r := range g.ofType(commandType) {
				assert.Equal(t, r.Name == command.Name, strings.Contains(creates(r), sum), r.Name)
			}
		})
	}
	assert.Equal(t, 6, checked)
}

// If zones are added, machines stay in their zone and subnets keep their networks.
func TestMachinesStayInTheirZone(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:zones"] = []string{"ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c", "ap-northeast-2d"}
	values["eco2:nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 3}}
	subnetOf := func(g *graph, name string) string {
		return g.named(t, instanceType, name).Inputs["subnetId"].StringValue()
	}
	g, err := runAs(program, "dev", values, map[string]any{"zones": map[string]any{
		"k8s-api-scan": "ap-northeast-2a", "k8s-redis-3": "ap-northeast-2a", "k8s-api-info": "ap-northeast-2f",
	}})
	require.NoError(t, err)
	assert.Equal(t, "ap-northeast-2a-id", subnetOf(g, "k8s-api-scan"))
	assert.Equal(t, "ap-northeast-2a-id", subnetOf(g, "k8s-redis-3"))
	assert.Equal(t, "ap-northeast-2c-id", subnetOf(g, "k8s-api-info"), "the stack does not have its previous zone")
	for zone, network := range map[string]string{"a": "10.0.0.0/20", "b": "10.0.16.0/20", "c": "10.0.32.0/20", "d": "10.0.48.0/20"} {
		assert.Equal(t, network, g.named(t, "aws:ec2/subnet:Subnet", "ap-northeast-2"+zone).Inputs["cidrBlock"].StringValue())
	}

	fresh, err := run("dev", values)
	require.NoError(t, err)
	assert.Equal(t, "ap-northeast-2d-id", subnetOf(fresh, "k8s-redis-3"), "its preferred zone is two after that of the first")
}

// Workers and etcd know the control plane by its address. No other machine of the subnet may get it, not even one that
// starts at the same time.
func TestTheControlPlanesAddressIsReserved(t *testing.T) {
	for name, test := range map[string]struct {
		previous map[string]any
		want     string
	}{
		"a new stack":                {nil, "10.0.0.10"},
		"a stack with another one":   {map[string]any{"controlPlane": "10.0.3.77"}, "10.0.3.77"},
		"a stack in another network": {map[string]any{"controlPlane": "172.31.0.9"}, "10.0.0.10"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := runAs(program, "dev", settings(t, "dev"), test.previous)
			require.NoError(t, err)
			reservation := g.named(t, "aws:ec2/subnetCidrReservation:SubnetCidrReservation", "control-plane")
			assert.Equal(t, test.want+"/32", reservation.Inputs["cidrBlock"].StringValue())
			for _, machine := range g.ofType(instanceType) {
				inSubnet := machine.Inputs["subnetId"].StringValue() == reservation.Inputs["subnetId"].StringValue()
				assert.Equal(t, inSubnet, g.dependsOn(machine, reservation), machine.Name)
				address := machine.Inputs["privateIp"]
				if machine.Name == "k8s-master" {
					assert.True(t, inSubnet)
					assert.Equal(t, test.want, address.StringValue())
				} else {
					assert.True(t, address.IsNull(), machine.Name)
				}
			}
		})
	}
}

// A controller that discovers subnets by their tags would also use one that is about to be deleted.
func TestIngressesNameTheSubnets(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:zones"] = []string{"ap-northeast-2a", "ap-northeast-2d"}
	g, err := run("dev", values)
	require.NoError(t, err)
	for _, ingress := range g.every(t, "kubernetes:networking.k8s.io/v1:Ingress") {
		annotations := ingress.Inputs["metadata"].ObjectValue()["annotations"].ObjectValue()
		assert.Equal(t, "ap-northeast-2a-id,ap-northeast-2d-id", annotations["alb.ingress.kubernetes.io/subnets"].StringValue(), ingress.Name)
	}
}
