package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var stacks = []string{"dev", "prod"}

// forEachStack runs a check on the graph of every committed stack.
func forEachStack(t *testing.T, check func(t *testing.T, g *graph)) {
	for _, stack := range stacks {
		t.Run(stack, func(t *testing.T) { check(t, mustRun(t, stack)) })
	}
}

func TestThereIsOneSecurityGroupAndItsRulesAreResources(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		groups := g.ofType(groupType)
		require.Len(t, groups, 1)
		assert.NotContains(t, groups[0].Inputs, resource.PropertyKey("ingress"), "inline rules and rule resources undo each other")
		assert.NotContains(t, groups[0].Inputs, resource.PropertyKey("egress"), "inline rules and rule resources undo each other")
		assert.Empty(t, g.ofType("aws:ec2/securityGroupRule:SecurityGroupRule"), "the older kind of rule")
		assert.Empty(t, referenceCycle(g))
		self := g.named(t, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "self")
		assert.Equal(t, self.Inputs["securityGroupId"], self.Inputs["referencedSecurityGroupId"])
	})
}

// referenceCycle returns the ids of security groups whose rules refer to each other in a cycle, or nil. A rule that
// refers to its own group is not a cycle, because it is deleted with the group.
func referenceCycle(g *graph) []string {
	refers := map[string][]string{}
	for _, r := range g.resources {
		if !strings.HasPrefix(r.Type, "aws:vpc/securityGroup") {
			continue
		}
		from, to := r.Inputs["securityGroupId"], r.Inputs["referencedSecurityGroupId"]
		if to.IsString() && from.IsString() && to.StringValue() != from.StringValue() {
			refers[from.StringValue()] = append(refers[from.StringValue()], to.StringValue())
		}
	}
	var cycle []string
	var visit func(at string, path []string) bool
	visit = func(at string, path []string) bool {
		if i := slices.Index(path, at); i >= 0 {
			cycle = path[i:]
			return true
		}
		return slices.ContainsFunc(refers[at], func(next string) bool { return visit(next, append(path, at)) })
	}
	for _, group := range slices.Sorted(maps.Keys(refers)) {
		if visit(group, nil) {
			return cycle
		}
	}
	return nil
}

// TestAReferenceCycleIsFound checks that referenceCycle finds a cycle, since the program has none.
func TestAReferenceCycleIsFound(t *testing.T) {
	g := mustRun(t, "dev")
	rule := func(from, to string) *declared {
		return &declared{Type: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", Name: from + "-" + to, Inputs: resource.PropertyMap{
			"securityGroupId": resource.NewProperty(from), "referencedSecurityGroupId": resource.NewProperty(to),
		}}
	}
	g.resources = append(g.resources, rule("cluster-id", "alb-id"))
	require.Empty(t, referenceCycle(g))
	g.resources = append(g.resources, rule("alb-id", "cluster-id"))
	require.ElementsMatch(t, []string{"cluster-id", "alb-id"}, referenceCycle(g))
}

// Whoever answers at a machine's address must prove that it is that machine before it gets the SSH key or the kubeconfig.
func TestEveryConnectionRequiresAHostKey(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		keys, used := map[string]string{}, map[string]bool{}
		for _, machine := range g.ofType(instanceType) {
			keys[machine.Name] = machine.Inputs["tags"].ObjectValue()["SSHHostKey"].StringValue()
			assert.Regexp(t, `^ssh-ed25519 \S+$`, keys[machine.Name], machine.Name)
		}
		for _, c := range g.ofType(commandType) {
			connection := c.Inputs["connection"]
			for connection.IsSecret() {
				connection = connection.SecretValue().Element
			}
			assert.Equal(t, keys["k8s-master"], connection.ObjectValue()["hostKey"].StringValue(), c.Name)
			// What runs on a worker is sent there by the control plane. upgrade-nodes requires the keys that the joins have
			// stored: see TestUpgradeNodes.
			if create := c.Inputs["create"]; create.IsString() && strings.Contains(create.StringValue(), "--user ") && c.Name != "upgrade-nodes" {
				_, worker, _ := strings.Cut(c.Name, "-")
				assert.Contains(t, create.StringValue(), "--host-key '"+keys[worker]+"'", c.Name)
				used[keys[worker]] = true
			}
		}
		assert.Len(t, used, 13, "every worker has its own")
	})
}

func TestInstancesComeFromTheTableAndKeepTheirImage(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		instances := g.ofType(instanceType)
		var names []string
		for _, i := range instances {
			names = append(names, i.Name)
			assert.ElementsMatch(t, []string{"ami", "userData", "tags.SSHHostKey"}, i.RPC.GetIgnoreChanges(), i.Name)
			assert.Contains(t, i.RPC.GetAdditionalSecretOutputs(), "userData", i.Name)
			assert.True(t, i.Inputs["userData"].IsSecret(), "%s: it contains the machine's private host key", i.Name)
			assert.True(t, i.RPC.GetDeleteBeforeReplace(), "%s: two nodes of one name cannot be in a cluster", i.Name)
			assert.Equal(t, "required", i.Inputs["metadataOptions"].ObjectValue()["httpTokens"].StringValue(), i.Name)
			assert.True(t, i.Inputs["rootBlockDevice"].ObjectValue()["encrypted"].BoolValue(), i.Name)
		}
		assert.Len(t, names, 14)
		assert.ElementsMatch(t, nodeNames(), names)
		assert.Len(t, g.ofType("aws:ec2/eip:Eip"), 1, "only the control plane keeps an address")
	})
}

// The disk with the cluster's state must outlive the machine, and must be on the new one before anything looks for the
// cluster.
func TestTheStateIsOnAVolumeOfItsOwn(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		volumes := g.ofType("aws:ebs/volume:Volume")
		require.Len(t, volumes, 1)
		volume, machine := volumes[0], g.named(t, instanceType, "k8s-master")
		assert.True(t, volume.Inputs["encrypted"].BoolValue())
		assert.Equal(t, machine.Inputs["rootBlockDevice"].ObjectValue()["volumeType"], volume.Inputs["type"])
		assert.Empty(t, volume.deletedWith(), "it would be deleted with a machine that is replaced")
		assert.False(t, g.dependsOn(volume, machine), "it would be replaced with the machine")
		assert.NotContains(t, volume.Inputs["tags"].ObjectValue(), resource.PropertyKey("ebs.csi.aws.com/cluster-name"),
			"a pod that gets the CSI driver's rights could delete it")
		attachment := g.named(t, "aws:ec2/volumeAttachment:VolumeAttachment", "k8s-master-state")
		assert.Equal(t, "k8s-master", attachment.deletedWith(), "AWS detaches the volumes of a terminated machine")
		assert.True(t, attachment.RPC.GetDeleteBeforeReplace(), "a volume can be attached to one machine only")
		assert.True(t, g.dependsOn(g.named(t, commandType, "state-k8s-master"), attachment))
	})
}

// deletes maps the commands whose delete script must run when the stack is destroyed to the reason.
var deletes = map[string]string{
	"sweep":       "deletes, through their controllers, the load balancers and volumes that are in no state",
	"early-sweep": "does the same after a first update that failed before the sweep was created",
}

// A destroy must not delete each resource in the cluster by a separate call: see pulumi.DeletedWith.
func TestClusterResourcesAreDeletedWithMachinesOrNetwork(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		checked := 0
		for _, r := range g.resources {
			if r.Type != commandType && !strings.HasPrefix(r.Type, "kubernetes:") {
				continue
			}
			checked++
			if _, exempt := deletes[r.Name]; exempt {
				assert.Empty(t, r.deletedWith(), "%s must run its delete", r.Name)
				continue
			}
			want := "network"
			for _, prefix := range []string{"prepare-", "state-", "init-"} {
				if node, ok := strings.CutPrefix(r.Name, prefix); ok && r.Type == commandType {
					want = node
				}
			}
			if r.Name == "admin-kubeconfig" || r.Name == "scripts" {
				want = "k8s-master"
			}
			assert.Equal(t, want, r.deletedWith(), "%s %s", r.Type, r.Name)
		}
		assert.Greater(t, checked, 14, "each machine has commands; if there are fewer, this test does not see them")
	})
}

// Only the sweeps, the members and the records have something to do on delete; other commands must not have a delete
// script.
func TestOnlySweepsMembersAndRecordsHaveDeletes(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		for _, r := range g.every(t, commandType) {
			_, has := r.Inputs["delete"]
			_, sweeps := deletes[r.Name]
			member := strings.HasPrefix(r.Name, "member-")
			assert.Equal(t, sweeps || r.Name == "dns-records" || member, has, r.Name)
			assert.Equal(t, member || !has, r.Inputs.HasValue("create"), r.Name)
		}
	})
}

func TestClusterStepsRunInOrder(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		command := func(name string) *declared { return g.named(t, commandType, name) }
		after := func(later, earlier string) {
			assert.True(t, g.dependsOn(command(later), command(earlier)), "%s must come after %s", later, earlier)
		}
		after("init-k8s-master", "state-k8s-master")
		after("state-k8s-master", "prepare-k8s-master")
		after("init-k8s-master", "scripts")
		after("admin-kubeconfig", "init-k8s-master")
		after("calico", "init-k8s-master")
		after("ready", "calico")
		after("argocd", "ready")
		for _, worker := range nodeNames()[1:] {
			after("prepare-"+worker, "scripts")
			after("member-"+worker, "prepare-"+worker)
			after("member-"+worker, "init-k8s-master")
			after("ready", "member-"+worker)
			assert.False(t, g.dependsOn(command("member-"+worker), command("calico")), "joins do not depend on the pod network")
			assert.False(t, g.dependsOn(command("prepare-"+worker), command("prepare-k8s-master")), "machines are prepared in parallel")
		}
		// The first SSH connection needs the security group's rules and the route to the internet.
		for _, prepare := range nodeNames() {
			for _, rule := range g.every(t, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule") {
				assert.True(t, g.dependsOn(command("prepare-"+prepare), rule), "%s before %s", prepare, rule.Name)
			}
			assert.True(t, g.dependsOn(command("prepare-"+prepare), g.named(t, "aws:ec2/route:Route", "network-internet")))
		}
	})
}

func TestReleasesComeAfterTheClusterAndTheirCRDs(t *testing.T) {
	want := []string{
		"aws-ebs-csi-driver", "aws-load-balancer-controller", "external-dns", "external-secrets",
		"kube-prometheus-stack", "metrics-server", "rabbitmq-cluster-operator", "redis-operator",
	}
	withoutCRDs := []string{"aws-ebs-csi-driver", "external-dns", "metrics-server"}
	forEachStack(t, func(t *testing.T, g *graph) {
		var names []string
		for _, r := range g.ofType(releaseType) {
			names = append(names, r.Name)
			assert.True(t, r.Inputs["skipCrds"].BoolValue(), "%s: Helm installs CRDs once and never upgrades them", r.Name)
			for _, earlier := range []string{"ready", "argocd"} {
				assert.True(t, g.dependsOn(r, g.named(t, commandType, earlier)), "%s after %s", r.Name, earlier)
			}
			if !slices.Contains(withoutCRDs, r.Name) {
				assert.True(t, g.dependsOn(r, g.named(t, commandType, "crds-"+r.Name)), "%s after its CRDs", r.Name)
			}
		}
		assert.ElementsMatch(t, want, names)
		stack := g.named(t, releaseType, "kube-prometheus-stack").Inputs["values"].ObjectValue()
		assert.False(t, stack["crds"].ObjectValue()["enabled"].BoolValue(), "these CRDs are a sub-chart, which skipCrds does not reach")
		secrets := g.named(t, releaseType, "external-secrets").Inputs["values"].ObjectValue()
		assert.False(t, secrets["installCRDs"].BoolValue(), "these CRDs are templates, which skipCrds does not reach")
	})
}

// The provider ignores properties that its resource does not have, without an error.
func TestReleasesUsePropertiesThatTheResourceHas(t *testing.T) {
	known := []string{
		"allowNullValues", "atomic", "chart", "cleanupOnFail", "compat", "createNamespace", "dependencyUpdate",
		"description", "devel", "disableCRDHooks", "disableOpenapiValidation", "disableWebhooks", "forceUpdate",
		"keyring", "lint", "manifest", "maxHistory", "name", "namespace", "postrender", "recreatePods",
		"renderSubchartNotes", "replace", "repositoryOpts", "resetValues", "resourceNames", "reuseValues",
		"skipAwait", "skipCrds", "timeout", "valueYamlFiles", "values", "verify", "version", "waitForJobs",
	}
	forEachStack(t, func(t *testing.T, g *graph) {
		for _, r := range g.every(t, releaseType) {
			for key := range r.Inputs {
				assert.Contains(t, known, string(key), r.Name)
			}
			for _, required := range []resource.PropertyKey{"chart", "version", "namespace", "name"} {
				assert.NotEmpty(t, r.Inputs[required].StringValue(), "%s.%s", r.Name, required)
			}
		}
	})
}

// Resources that are deleted with the network leave the state without a call. If that happened while the sweep fails or
// is refused, the state would lose resources of a cluster that still exists.
func TestTheSweepComesAfterEverything(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		sweep := g.named(t, commandType, "sweep")
		for _, r := range g.resources {
			assert.False(t, g.dependsOn(r, sweep), "%s would outlive the sweep", r.URN)
			if r == sweep || strings.HasPrefix(r.Type, "pulumi:") || strings.HasPrefix(r.Type, "eco2:") {
				continue // providers and components have nothing to delete
			}
			assert.True(t, g.dependsOn(sweep, r), "%s could be deleted while the sweep fails", r.URN)
		}
	})
}

// If a first update fails after it has created a part of the platform, the state must contain a sweep, which a destroy
// runs before it deletes anything that controllers need or that the resources created by them would block.
func TestTheEarlySweepComesBeforeThePlatform(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		early := g.named(t, commandType, "early-sweep")
		for _, r := range g.resources {
			switch {
			case r == early || strings.HasPrefix(r.Type, "pulumi:") || strings.HasPrefix(r.Type, "eco2:"):
			case strings.HasPrefix(r.Type, "kubernetes:"):
				assert.True(t, g.dependsOn(r, early), "%s could exist without a sweep", r.URN)
			case strings.HasPrefix(r.Type, "aws:"):
				assert.True(t, g.dependsOn(early, r), "%s could be deleted before the sweep", r.URN)
			}
		}
		for _, node := range nodeNames()[1:] {
			assert.True(t, g.dependsOn(early, g.named(t, commandType, "member-"+node)), node)
		}
		assert.True(t, g.dependsOn(early, g.named(t, commandType, "argocd")))
	})
}

// If the domain is removed from a cluster that stays, the load balancer is deleted first, then the records, and then
// what both need. A stack without a domain has nothing that creates records.
func TestDomainIsRemovedInOrder(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		records, dns := g.named(t, commandType, "dns-records"), g.named(t, releaseType, "external-dns")
		for _, ingress := range g.every(t, "kubernetes:networking.k8s.io/v1:Ingress") {
			assert.True(t, g.dependsOn(ingress, records), ingress.Name)
		}
		assert.True(t, g.dependsOn(records, dns))
		assert.True(t, g.dependsOn(records, g.named(t, "aws:acm/certificateValidation:CertificateValidation", "domain")))
		for _, policy := range g.ofType("aws:iam/rolePolicy:RolePolicy") {
			assert.True(t, g.dependsOn(dns, policy), policy.Name)
		}
	})
	values := settings(t, "dev")
	values["eco2:domain"], values["eco2:hostedZoneId"] = "", ""
	g, err := run("dev", values)
	require.NoError(t, err)
	assert.Len(t, g.ofType(releaseType), 7)
	for _, r := range g.resources {
		assert.NotContains(t, []string{"external-dns", "dns-records"}, r.Name)
		assert.NotEqual(t, "kubernetes:networking.k8s.io/v1:Ingress", r.Type)
	}
}

// A bare cluster has all nodes, and no resource that needs the cluster's API. The program installs nothing in it that
// creates load balancers or volumes, so there is no sweep, and a destroy does not need the control plane.
func TestABareClusterHasNoPlatform(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:platform"] = false
	g, err := run("dev", values)
	require.NoError(t, err)
	assert.Len(t, g.ofType(instanceType), 14)
	for _, r := range g.resources {
		assert.False(t, strings.HasPrefix(r.Type, "kubernetes:") || r.Type == "pulumi:providers:kubernetes", r.URN)
		assert.False(t, r.Name == "argocd" || strings.HasSuffix(r.Name, "sweep") || strings.HasPrefix(r.Name, "crds-"), r.URN)
	}
}

// A destroy that something blocks must fail within minutes.
func TestABlockedDestroyGivesUpSoon(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		for _, typ := range []string{"aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/internetGateway:InternetGateway", groupType} {
			for _, r := range g.every(t, typ) {
				limit, err := time.ParseDuration(r.RPC.GetCustomTimeouts().GetDelete())
				require.NoError(t, err, "%s %s has no delete timeout", typ, r.Name)
				assert.LessOrEqual(t, limit, 5*time.Minute, "%s %s", typ, r.Name)
			}
		}
		for _, r := range g.ofType(certificateType) {
			assert.Empty(t, r.RPC.GetCustomTimeouts().GetDelete(), "the provider has no delete timeout for a certificate")
		}
		for name := range deletes {
			limit, err := time.ParseDuration(g.named(t, commandType, name).RPC.GetCustomTimeouts().GetDelete())
			require.NoError(t, err)
			assert.LessOrEqual(t, limit, 5*time.Minute)
		}
	})
}

// A forgotten load balancer must block a destroy at the network, which fails within minutes, and not at the
// certificate, for which the provider waits 20 minutes. The deletion of the record, which takes about 30 seconds, must
// overlap with that of the machines.
func TestCertificateAndRecordDeletionOrder(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		certificate := g.named(t, certificateType, "domain")
		subnets := g.ofType("aws:ec2/subnet:Subnet")
		require.Len(t, subnets, 3)
		for _, subnet := range subnets {
			assert.True(t, g.dependsOn(subnet, certificate), subnet.Name)
			assert.Equal(t, g.depth(subnet), g.depth(certificate)+1, "another level would lengthen the destroy")
			assert.False(t, g.dependsOn(certificate, subnet))
		}
		vpc := g.named(t, "aws:ec2/vpc:Vpc", "network")
		assert.False(t, g.dependsOn(vpc, certificate), "an update would wait for the certificate before it creates the VPC")
		record := g.named(t, "aws:route53/record:Record", "domain")
		assert.Equal(t, g.depth(g.named(t, instanceType, "k8s-redis")), g.depth(record))
	})
}

// The tags that the driver's policy compares must have the same value on the role, on every machine, and on the
// volumes, which the driver tags.
func TestEBSDriverTagsMatch(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		attachment := g.named(t, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "control-plane-volumes")
		assert.Equal(t, "arn:aws:iam::aws:policy/AmazonEBSCSIDriverEKSClusterScopedPolicy", attachment.Inputs["policyArn"].StringValue())
		cluster := "eco2-" + g.stack
		tag := func(r *declared, key string) any { return r.Inputs["tags"].ObjectValue()[resource.PropertyKey(key)].V }
		assert.Equal(t, cluster, tag(g.named(t, "aws:iam/role:Role", "control-plane"), "eks-cluster-name"))
		machines := g.ofType(instanceType)
		require.Len(t, machines, 14)
		for _, machine := range machines {
			assert.Equal(t, cluster, tag(machine, "ebs.csi.aws.com/cluster-name"), machine.Name)
		}
		driver := plainOf(g.named(t, releaseType, "aws-ebs-csi-driver").Inputs["values"]).(map[string]any)
		assert.Equal(t, cluster, driver["controller"].(map[string]any)["k8sTagClusterId"])
	})
}

// Whoever reaches a machine's metadata service has the machine's role. On a worker, only the host's network reaches it,
// and the role permits Session Manager only. So all pods that call AWS must run on the control plane.
func TestOnlyTheControlPlaneMayCallAWS(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		machines := g.ofType(instanceType)
		require.Len(t, machines, 14)
		for _, machine := range machines {
			profile, hops := "eco2-"+g.stack+"-worker", 1.0
			if machine.Name == "k8s-master" {
				profile, hops = "eco2-"+g.stack+"-node", 2
			}
			assert.Equal(t, profile, machine.Inputs["iamInstanceProfile"].StringValue(), machine.Name)
			options := plainOf(machine.Inputs["metadataOptions"]).(map[string]any)
			assert.Equal(t, map[string]any{"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": hops},
				options, machine.Name)
		}
		granted := map[string][]string{}
		for _, typ := range []string{"aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"} {
			for _, policy := range g.every(t, typ) {
				role := policy.Inputs["role"].StringValue()
				granted[role] = append(granted[role], policy.Name)
			}
		}
		assert.Equal(t, []string{"worker-session-manager"}, granted["eco2-"+g.stack+"-worker"])
		assert.Len(t, granted["eco2-"+g.stack+"-node"], 5)

		controlPlane := map[string]any{"node-role.kubernetes.io/control-plane": ""}
		values := func(release string) map[string]any {
			return plainOf(g.named(t, releaseType, release).Inputs["values"]).(map[string]any)
		}
		driver := values("aws-ebs-csi-driver")
		for name, pods := range map[string]any{
			"aws-load-balancer-controller": values("aws-load-balancer-controller"),
			"aws-ebs-csi-driver":           driver["controller"],
			"external-secrets":             values("external-secrets")["global"],
			"external-dns":                 values("external-dns"),
		} {
			assert.Equal(t, controlPlane, pods.(map[string]any)["nodeSelector"], name)
		}
		assert.Equal(t, true, driver["node"].(map[string]any)["hostNetwork"], "its pods on workers read the metadata service")
	})
}

func TestProdIsProtected(t *testing.T) {
	protected := func(g *graph) []string {
		var names []string
		for _, r := range g.resources {
			if r.RPC.GetProtect() {
				names = append(names, r.Type+" "+r.Name)
			}
		}
		return names
	}
	assert.Empty(t, protected(mustRun(t, "dev")))
	assert.ElementsMatch(t, []string{
		"aws:ec2/vpc:Vpc network", "aws:ec2/eip:Eip k8s-master",
		"aws:ebs/volume:Volume k8s-master-state",
		"command:remote:Command sweep", "command:remote:Command early-sweep",
	}, protected(mustRun(t, "prod")))
}

// The description of each parameter names its reader.
func TestEveryParameterHasAReader(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		parameters := g.ofType("aws:ssm/parameter:Parameter")
		assert.Len(t, parameters, 10)
		for _, p := range parameters {
			assert.Regexp(t, `^Read by .{10,}`, p.Inputs["description"].StringValue(), p.Name)
			if strings.Contains(p.Name, "password") {
				assert.Equal(t, "SecureString", p.Inputs["type"].StringValue(), p.Name)
				assert.True(t, p.Inputs["value"].IsSecret(), "%s is stored in plain text", p.Name)
			}
		}
	})
}

func TestTwoRunsDeclareTheSame(t *testing.T) {
	first, second := mustRun(t, "dev"), mustRun(t, "dev")
	require.Len(t, second.resources, len(first.resources))
	for i, r := range first.resources {
		require.Equal(t, r.URN, second.resources[i].URN)
		assert.True(t, r.Inputs.DeepEquals(second.resources[i].Inputs), "%s: a map that is not sorted, or a clock", r.URN)
	}
}

// Secrets must be passed as secrets, on standard input and in the connection, and never in a command line, which the
// error of a failing command contains.
func TestSecretsAreNowhereInTheClear(t *testing.T) {
	values := settings(t, "dev")
	g, err := run("dev", values)
	require.NoError(t, err)
	var secrets [][]byte
	for _, key := range secretKeys {
		// JSON escapes the line breaks of a key, so search for its longest line.
		longest := slices.MaxFunc(strings.Split(values[key].(string), "\n"), func(a, b string) int { return len(a) - len(b) })
		secrets = append(secrets, []byte(longest))
	}
	found := 0
	for _, r := range g.resources {
		for key, value := range r.Inputs {
			text, err := json.Marshal(plainOf(value))
			require.NoError(t, err)
			for i, secret := range secrets {
				assert.False(t, bytes.Contains(text, secret), "%s %s: %s contains %s in plain text", r.Type, r.Name, key, secretKeys[i])
			}
			if value.ContainsSecrets() {
				found++
			}
		}
	}
	assert.Greater(t, found, 14, "the commands' connections are secret; if there are fewer, this test does not see them")
}

// plainOf returns a value without its secret parts.
func plainOf(value resource.PropertyValue) any {
	switch {
	case value.IsSecret():
		return nil
	case value.IsOutput() && value.OutputValue().Secret:
		return nil
	case value.IsObject():
		out := map[string]any{}
		for key, v := range value.ObjectValue() {
			out[string(key)] = plainOf(v)
		}
		return out
	case value.IsArray():
		var out []any
		for _, v := range value.ArrayValue() {
			out = append(out, plainOf(v))
		}
		return out
	default:
		return value.Mappable()
	}
}

func TestOnlyWebPortsAreOpenToTheInternet(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		var open []string
		for _, r := range g.ofType("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule") {
			if cidr := r.Inputs["cidrIpv4"]; cidr.IsString() && cidr.StringValue() == "0.0.0.0/0" {
				open = append(open, r.Name)
			}
		}
		assert.ElementsMatch(t, []string{"http-0.0.0.0-0", "https-0.0.0.0-0"}, open)
	})
	values := settings(t, "dev")
	values["eco2:domain"], values["eco2:hostedZoneId"] = "", ""
	g, err := run("dev", values)
	require.NoError(t, err)
	for _, r := range g.every(t, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule") {
		assert.NotRegexp(t, "^(http|argocd)", r.Name, "without a domain nothing serves the web")
	}
	assert.Empty(t, g.ofType("kubernetes:networking.k8s.io/v1:Ingress"))
	assert.Empty(t, g.ofType("aws:acm/certificate:Certificate"))
}

// Argo CD may do anything in the cluster, so only the listener that administrators reach serves it. Without a setting
// nobody reaches its NodePort, which is not encrypted.
func TestArgoCDIsForAdministratorsOnly(t *testing.T) {
	const port = 8443
	forEachStack(t, func(t *testing.T, g *graph) {
		admins := settings(t, g.stack)["eco2:adminCidrs"]
		var open []string
		for _, r := range g.ofType("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule") {
			if !r.Inputs.HasValue("cidrIpv4") {
				continue // from the group itself
			}
			from, to := r.Inputs["fromPort"].NumberValue(), r.Inputs["toPort"].NumberValue()
			if from <= port && port <= to {
				open = append(open, r.Inputs["cidrIpv4"].StringValue())
			}
			assert.False(t, from <= 30080 && 30080 <= to, "%s opens the NodePort", r.Name)
		}
		assert.ElementsMatch(t, admins, open)

		serving := map[string]string{}
		for _, r := range g.every(t, "kubernetes:networking.k8s.io/v1:Ingress") {
			ingress := r.Inputs.MapRepl(nil, plainMap)
			annotations := ingress["metadata"].(map[string]any)["annotations"].(map[string]any)
			rule := ingress["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)
			path := rule["http"].(map[string]any)["paths"].([]any)[0].(map[string]any)
			backend := path["backend"].(map[string]any)["service"].(map[string]any)
			serving[backend["name"].(string)] = annotations["alb.ingress.kubernetes.io/listen-ports"].(string)
		}
		assert.Equal(t, map[string]string{"argocd-server": `[{"HTTPS":8443}]`, "to-argocd": `[{"HTTP":80},{"HTTPS":443}]`}, serving)
	})
}
