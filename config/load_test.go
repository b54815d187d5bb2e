package config

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// values holds settings by their keys without the project's name, or a field of a setting that is a map.
type values = map[string]any

// stack is what the pulumi command and the engine tell the program about a stack. It implements Pulumi's mocks.
type stack struct {
	name     string
	settings values
	// secrets lists the settings that are encrypted.
	secrets []string
	// previous is the output "made" of the last update. It is nil before the first one.
	previous map[string]any
	// nodes is the output "nodes" of the last update.
	nodes map[string]any
	// warnings are those that load logged.
	warnings []string
}

// newStack returns the stack dev before its first update. Its settings are valid, unless the changes make them invalid.
func newStack(t *testing.T, changes values) *stack {
	t.Helper()
	key, err := ssh.MarshalPrivateKey(edKey, "test")
	require.NoError(t, err)
	s := &stack{
		name: "dev",
		settings: values{
			"environment": "dev", "protect": false, "platform": true,
			"region": "ap-northeast-2", "zones": []string{"ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"},
			"vpcCidr": "10.0.0.0/16", "podCidr": "192.168.0.0/16", "serviceCidr": "10.96.0.0/12",
			"adminCidrs": []string{"198.51.100.7/32"}, "nodePortCidrs": []string{},
			"domain": "dev.growbin.app", "hostedZoneId": "Z0123456789ABCDEFGHIJ",
			"sshUser": "ubuntu", "sshPrivateKey": string(pem.EncodeToMemory(key)), "ami": "",
			"nodes": values{}, "versions": values{}, "gitops": values{}, "mirror": values{},
			"postgresPassword": "p", "redisPassword": "r", "rabbitmqPassword": "m", "grafanaPassword": "g",
		},
		secrets: []string{"sshPrivateKey", "postgresPassword", "redisPassword", "rabbitmqPassword", "grafanaPassword"},
	}
	maps.Copy(s.settings, changes)
	return s
}

// nodeNames lists the node table's names, the control plane's first.
var nodeNames = strings.Fields(`k8s-master k8s-api-auth k8s-api-my k8s-api-scan k8s-api-character k8s-api-location
	k8s-api-info k8s-api-chat k8s-worker-storage k8s-worker-ai k8s-rabbitmq k8s-postgresql k8s-redis k8s-monitoring`)

// load calls Load.
func (s *stack) load() (c Config, err error) {
	var nodes []NodeEntry
	for _, name := range nodeNames {
		nodes = append(nodes, NodeEntry{Name: name})
	}
	nodes[13].RequiredBy = "kube-prometheus-stack"
	settings, secrets := map[string]string{}, []string{}
	for key, value := range s.settings {
		text, ok := value.(string)
		if !ok {
			data, err := json.Marshal(value)
			if err != nil {
				return Config{}, err
			}
			text = string(data)
		}
		settings["eco2:"+key] = text
	}
	for _, key := range s.secrets {
		secrets = append(secrets, "eco2:"+key)
	}
	runErr := pulumi.RunErr(func(ctx *pulumi.Context) error {
		ctx.Log = warningLog{ctx.Log, s}
		c, err = Load(ctx, nodes)
		return nil
	}, pulumi.WithMocks("eco2", s.name, s), func(info *pulumi.RunInfo) {
		info.Config, info.ConfigSecretKeys = settings, secrets
	})
	return c, errors.Join(err, runErr)
}

// mustLoad returns valid settings.
func (s *stack) mustLoad(t *testing.T) Config {
	t.Helper()
	c, err := s.load()
	require.NoError(t, err)
	return c
}

// requireProblems checks that Load reports exactly these problems.
func (s *stack) requireProblems(t *testing.T, problems ...string) {
	t.Helper()
	_, err := s.load()
	require.EqualError(t, err, fmt.Sprintf("the configuration of stack %s has %d problem(s):\n  %s",
		s.name, len(problems), strings.Join(problems, "\n  ")))
	assert.Empty(t, s.warnings, "invalid settings have errors only")
}

// warningLog adds the warnings of a run to its stack.
type warningLog struct {
	pulumi.Log
	stack *stack
}

func (l warningLog) Warn(message string, _ *pulumi.LogArgs) error {
	l.stack.warnings = append(l.stack.warnings, message)
	return nil
}

func (s *stack) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if args.Token != "pulumi:pulumi:readStackOutputs" {
		return nil, fmt.Errorf("Load called %s, which the test does not expect", args.Token)
	}
	outputs := map[string]any{}
	if s.previous != nil {
		outputs[PreviousOutput] = s.previous
	}
	if s.nodes != nil {
		outputs["nodes"] = s.nodes
	}
	name := args.Args["name"].StringValue()
	return resource.NewPropertyMapFromMap(map[string]any{"name": name, "outputs": outputs}), nil
}

func (s *stack) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.TypeToken != string(resource.RootStackType) {
		return "", nil, fmt.Errorf("Load declared %s, and must declare nothing", args.TypeToken)
	}
	return "", nil, nil
}

// Settings that are empty or not set have their default, also single fields of a map.
func TestDefaults(t *testing.T) {
	s := newStack(t, values{
		"adminCidrs": []string{"203.0.113.7/32", "198.51.100.0/24"},
		"versions":   values{"containerd": "2.2.1"},
	})
	c := s.mustLoad(t)
	assert.Equal(t, "eco2-dev", c.Name)
	assert.Equal(t, "/eco2/dev", c.ParameterPrefix)
	sorted := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.7/32")}
	assert.Equal(t, sorted, c.AdminCidrs)
	assert.Empty(t, c.NodePortCidrs)
	versions := DefaultVersions
	versions.Containerd = "2.2.1"
	assert.Equal(t, versions, c.Versions)
	assert.Empty(t, s.warnings)

	for _, key := range []string{"nodes", "versions", "gitops", "mirror", "nodePortCidrs", "ami"} {
		delete(s.settings, key)
	}
	c = s.mustLoad(t)
	assert.Empty(t, c.NodePortCidrs)
	assert.Equal(t, DefaultVersions, c.Versions)
	assert.Empty(t, c.Nodes)
	assert.Empty(t, c.GitOps)
	assert.Empty(t, c.Mirror)

	c = newStack(t, values{"nodePortCidrs": []string{"192.0.2.0/24"}}).mustLoad(t)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, c.NodePortCidrs)
}

// Both spellings of a flag are read; without a value it is false.
func TestFlags(t *testing.T) {
	for value, want := range map[any]bool{true: true, false: false, "": false} {
		c := newStack(t, values{"protect": value}).mustLoad(t)
		assert.Equal(t, want, c.Protect, value)
	}
}
