package main

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"eco2/infra"
)

// privateKey returns an SSH key for tests. It is the same in every run, because golden files contain its public key.
// Its encoding contains a random number, so it is encoded only once.
var privateKey = sync.OnceValue(func() string {
	key := ed25519.NewKeyFromSeed([]byte("thirty-two bytes of a test's key"))
	block, err := ssh.MarshalPrivateKey(key, "test")
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(block))
})

// settings returns a stack's configuration as the pulumi command passes it to the program: the defaults of Pulumi.yaml,
// the stack's file, and test values for what users must set themselves.
func settings(t testing.TB, stack string) map[string]any {
	t.Helper()
	values := map[string]any{}
	var project struct {
		Config map[string]struct{ Default any }
	}
	readYAML(t, "Pulumi.yaml", &project)
	for key, declared := range project.Config {
		if !strings.Contains(key, ":") {
			values["eco2:"+key] = declared.Default
		}
	}
	var file struct{ Config map[string]any }
	readYAML(t, "Pulumi."+stack+".yaml", &file)
	for key, value := range file.Config {
		values[key] = value
	}
	values["eco2:gitops"] = gitops
	values["eco2:adminCidrs"] = []string{"198.51.100.7/32"}
	values["eco2:hostedZoneId"] = "Z0123456789ABCDEFGHIJ"
	values["eco2:sshPrivateKey"] = privateKey()
	for _, name := range []string{"postgres", "redis", "rabbitmq", "grafana"} {
		values["eco2:"+name+"Password"] = "the " + name + " password"
	}
	return values
}

func readYAML(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, into))
}

// gitops is a test value for eco2:gitops. The committed stack files do not set it.
var gitops = map[string]any{"repository": "https://git.example/workloads.git", "revision": "main", "path": "clusters/dev/apps"}

// secretKeys lists the settings that the pulumi command passes as secrets.
var secretKeys = []string{
	"eco2:sshPrivateKey", "eco2:postgresPassword", "eco2:redisPassword", "eco2:rabbitmqPassword", "eco2:grafanaPassword",
}

// declared is a resource as the program registered it.
type declared struct {
	Type, Name string
	URN        string
	// Parent is the URN of the component that contains the resource. It is empty directly below the stack.
	Parent resource.URN
	Inputs resource.PropertyMap
	RPC    *pulumirpc.RegisterResourceRequest
}

// deletedWith returns the name of the resource with which this one is deleted, or an empty string.
func (d *declared) deletedWith() string { return nameOf(d.RPC.GetDeletedWith()) }

func nameOf(urn string) string {
	if urn == "" {
		return ""
	}
	return resource.URN(urn).Name()
}

// graph holds all resources that one run of the program registered. It implements Pulumi's mocks.
type graph struct {
	stack string
	// previous is the output "made" of the stack's last update. It is nil before the first one.
	previous  map[string]any
	mu        sync.Mutex
	resources []*declared
	byURN     map[string]*declared
}

func (g *graph) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if args.Token == "aws:ec2/getAmi:getAmi" {
		return resource.PropertyMap{"id": resource.NewProperty("ami-0123456789abcdef0")}, nil
	}
	if args.Token == "pulumi:pulumi:readStackOutputs" {
		outputs := map[string]any{}
		if g.previous != nil {
			outputs["made"] = g.previous
		}
		return resource.NewPropertyMapFromMap(map[string]any{"name": args.Args["name"].StringValue(), "outputs": outputs}), nil
	}
	return nil, fmt.Errorf("the program called %s, which the test does not expect", args.Token)
}

func (g *graph) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	parent := resource.URN(args.RegisterRPC.GetParent())
	if parent != "" && parent.Type() == resource.RootStackType {
		parent = "" // the stack is not part of its resources' URNs
	}
	urn := string(resource.CreateURN(args.Name, args.TypeToken, parent, "eco2", g.stack))
	g.resources = append(g.resources, &declared{
		Type: args.TypeToken, Name: args.Name, URN: urn, Parent: parent, Inputs: args.Inputs, RPC: args.RegisterRPC,
	})
	id := args.Name + "-id"
	outputs := args.Inputs.Copy()
	set := func(key, value string) { outputs[resource.PropertyKey(key)] = resource.NewProperty(value) }
	switch args.TypeToken {
	case "aws:ssm/parameter:Parameter":
		outputs["version"] = resource.NewProperty(1.0)
	case "aws:iam/role:Role":
		set("arn", "arn:aws:iam::123456789012:role/"+args.Name)
	case "aws:ec2/instance:Instance":
		set("privateIp", "10.0.0."+fmt.Sprint(len(args.Name)))
		set("publicIp", "203.0.113."+fmt.Sprint(len(args.Name)))
	case "aws:ec2/eipAssociation:EipAssociation":
		set("publicIp", "203.0.113.200")
	case "aws:acm/certificate:Certificate":
		set("arn", "arn:aws:acm:ap-northeast-2:123456789012:certificate/0")
		outputs["domainValidationOptions"] = resource.NewProperty([]resource.PropertyValue{
			resource.NewProperty(resource.PropertyMap{
				"resourceRecordName":  resource.NewProperty("_proof.example.com."),
				"resourceRecordType":  resource.NewProperty("CNAME"),
				"resourceRecordValue": resource.NewProperty("_value.acm-validations.aws."),
			}),
		})
	case "aws:route53/record:Record":
		set("fqdn", "_proof.example.com")
	case "command:remote:Command":
		set("stdout", "the output of "+args.Name)
		if args.Name == "admin-kubeconfig" {
			set("stdout", "U2FsdGVkX19zYWx0c2FsdA==") // an empty text, encrypted
		}
	}
	return id, outputs, nil
}

// run runs the program with these settings on a new stack.
func run(stack string, values map[string]any) (*graph, error) {
	return runAs(program, stack, values, nil)
}

// runAs runs program, which may be a part of the real one, on a stack with this output of its last update.
func runAs(program pulumi.RunFunc, stack string, values, previous map[string]any) (*graph, error) {
	g := &graph{stack: stack, previous: previous, byURN: map[string]*declared{}}
	config := map[string]string{}
	for key, value := range values {
		if text, ok := value.(string); ok {
			config[key] = text
			continue
		}
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		config[key] = string(data)
	}
	err := pulumi.RunErr(program, pulumi.WithMocks("eco2", stack, g), func(info *pulumi.RunInfo) {
		info.Config = config
		info.ConfigSecretKeys = secretKeys
	})
	sort.Slice(g.resources, func(i, j int) bool { return g.resources[i].URN < g.resources[j].URN })
	for _, r := range g.resources {
		g.byURN[r.URN] = r
	}
	return g, err
}

// mustRun runs the program with the settings of a committed stack.
func mustRun(t testing.TB, stack string) *graph {
	t.Helper()
	g, err := run(stack, settings(t, stack))
	require.NoError(t, err)
	return g
}

// nodeNames returns the names in the node table, the control plane's first.
func nodeNames() []string {
	var names []string
	for _, entry := range infra.NodeEntries() {
		names = append(names, entry.Name)
	}
	return names
}

// ofType lists the resources of a type.
func (g *graph) ofType(typ string) []*declared {
	var found []*declared
	for _, r := range g.resources {
		if r.Type == typ {
			found = append(found, r)
		}
	}
	return found
}

// every is like ofType, but fails if there is none. It is for loops with checks, which would otherwise check nothing.
func (g *graph) every(t testing.TB, typ string) []*declared {
	t.Helper()
	found := g.ofType(typ)
	require.NotEmpty(t, found, "%s declares no %s", g.stack, typ)
	return found
}

// named returns the resource of this type and name.
func (g *graph) named(t testing.TB, typ, name string) *declared {
	t.Helper()
	for _, r := range g.ofType(typ) {
		if r.Name == name {
			return r
		}
	}
	require.Failf(t, "missing resource", "the program declares no %s named %s", typ, name)
	return nil
}

// dependsOn reports whether one resource depends on another, directly or indirectly. A dependency on a component is one
// on its children.
func (g *graph) dependsOn(from, to *declared) bool {
	seen := map[string]bool{}
	var visit func(urn string) bool
	visit = func(urn string) bool {
		if urn == to.URN {
			return true
		}
		r := g.byURN[urn]
		if seen[urn] || r == nil {
			return false
		}
		seen[urn] = true
		return slices.ContainsFunc(r.RPC.GetDependencies(), visit)
	}
	return from != to && visit(from.URN)
}

// depth returns the length of the longest dependency path from a resource to one without dependencies. The engine
// deletes resources of the same depth together, the deepest first.
func (g *graph) depth(r *declared) (levels int) {
	for _, urn := range append(r.RPC.GetDependencies(), r.RPC.GetParent()) {
		if dependency := g.byURN[urn]; dependency != nil {
			levels = max(levels, g.depth(dependency)+1)
		}
	}
	return levels
}

const (
	certificateType = "aws:acm/certificate:Certificate"
	commandType     = "command:remote:Command"
	releaseType     = "kubernetes:helm.sh/v3:Release"
	instanceType    = "aws:ec2/instance:Instance"
	groupType       = "aws:ec2/securityGroup:SecurityGroup"
)
