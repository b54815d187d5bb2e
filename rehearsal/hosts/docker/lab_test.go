package docker

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/listeners"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/setup"
)

// lab is an account with a VPC and real machines for one test.
type lab struct {
	*testing.T
	driver   *Driver
	provider plugin.Provider
	key      ssh.Signer

	vpc, subnet, group string
}

type props = map[string]any

// These networks differ from those of a stack on the same host.
const (
	cidr       = "10.77.0.0/16"
	publicPool = "198.18.77.0/24"
)

// newLab prepares this host, and creates a VPC with a security group that allows SSH from the operator and all egress.
func newLab(t *testing.T) *lab {
	t.Helper()
	needs.Machines(t)
	t.Setenv(aws.PublicPoolEnv, publicPool)
	listeners.Watch(t, netip.MustParsePrefix(cidr))
	require.NoError(t, SetUpHost(t.Context(), os.Stderr))
	require.NoError(t, ReserveForTests(t.Context(), os.Stderr))
	l := &lab{T: t}
	state := t.TempDir()
	l.installServices(state)
	var err error
	l.driver, err = New(state)
	require.NoError(t, err)
	l.provider, err = provider.New(state, l.driver)
	require.NoError(t, err)
	require.NoError(t, l.provider.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": "eu-central-1"})))
	t.Cleanup(func() {
		require.NoError(t, Remove(context.Background(), state))
		l.isClean()
	})

	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	l.key, err = ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	authorized, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	l.create("aws:ec2/keyPair:KeyPair", "key", props{"keyName": "key", "publicKey": string(ssh.MarshalAuthorizedKey(authorized))})
	l.vpc = l.create("aws:ec2/vpc:Vpc", "lab", props{"cidrBlock": cidr, "enableDnsHostnames": true, "tags": props{"Name": "lab"}})
	l.create("aws:ec2/internetGateway:InternetGateway", "gateway", props{"vpcId": l.vpc})
	l.subnet = l.create("aws:ec2/subnet:Subnet", "public", props{"vpcId": l.vpc, "cidrBlock": "10.77.0.0/20",
		"availabilityZone": "eu-central-1a", "mapPublicIpOnLaunch": true})
	l.group = l.create("aws:ec2/securityGroup:SecurityGroup", "cluster", props{"vpcId": l.vpc, "name": "cluster"})
	l.ingress("ssh", props{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": setup.OperatorAddress + "/32"})
	l.egress("all", props{"ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"})
	return l
}

// services returns the program for the services container. It is built once for all labs.
var services = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "services-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a few megabytes in a temporary directory
	binary := filepath.Join(dir, "vpc")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/vpc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, output)
	}
	return os.ReadFile(binary)
})

func (l *lab) installServices(state string) {
	l.Helper()
	program, err := services()
	require.NoError(l, err)
	require.NoError(l, os.Mkdir(filepath.Join(state, "bin"), 0o755))
	require.NoError(l, os.WriteFile(filepath.Join(state, "bin", "vpc"), program, 0o755))
}

// isClean verifies that nothing is left on this host.
func (l *lab) isClean() {
	l.Helper()
	found, err := l.driver.find(context.Background())
	require.NoError(l, err)
	require.Empty(l, found.boxes)
	require.Empty(l, found.networks)
	output, err := exec.Command("ip", "-4", "address").CombinedOutput()
	require.NoError(l, err)
	require.NotContains(l, string(output), "10.77.")
	output, err = exec.Command("ip", "-4", "route").CombinedOutput()
	require.NoError(l, err)
	require.NotContains(l, string(output), network{ID: l.vpc}.bridge())
	require.NoDirExists(l, filepath.Join(l.driver.stateDir, directory))
}

func (l *lab) kind(typ string, in props) (plugin.Kind, *plugin.Request) {
	kind := l.provider.Kinds(typ)
	require.NotNil(l, kind, typ)
	return kind, &plugin.Request{Type: typ, Inputs: resource.NewPropertyMapFromMap(in)}
}

func (l *lab) tryCreate(typ, name string, in props) (string, error) {
	l.Helper()
	kind, r := l.kind(typ, in)
	r.Name, r.URN = name, resource.URN(typ+"::"+name)
	checked, failures := kind.Check(l.Context(), r)
	require.Empty(l, failures)
	r.Inputs = checked
	id, _, err := kind.Create(l.Context(), r)
	return id, err
}

func (l *lab) create(typ, name string, in props) string {
	l.Helper()
	id, err := l.tryCreate(typ, name, in)
	require.NoError(l, err)
	return id
}

func (l *lab) delete(typ, id string) {
	l.Helper()
	kind, r := l.kind(typ, nil)
	r.ID = id
	_, state, err := kind.Read(l.Context(), r)
	require.NoError(l, err)
	r.State = state
	require.NoError(l, kind.Delete(l.Context(), r))
}

const (
	ingressType  = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
	egressType   = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
	instanceType = "aws:ec2/instance:Instance"
)

func (l *lab) ingress(name string, in props) string {
	l.Helper()
	in["securityGroupId"] = l.group
	return l.create(ingressType, name, in)
}

func (l *lab) egress(name string, in props) string {
	l.Helper()
	in["securityGroupId"] = l.group
	return l.create(egressType, name, in)
}

// self adds the rule that allows all traffic from the group itself, and returns its id.
func (l *lab) self() string {
	l.Helper()
	return l.ingress("self", props{"ipProtocol": "-1", "referencedSecurityGroupId": l.group})
}

func (l *lab) inputs(name string) props {
	return props{
		"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In("eu-central-1"), "instanceType": "t3.small", "subnetId": l.subnet,
		"keyName": "key", "vpcSecurityGroupIds": []any{l.group}, "tags": props{"Name": "lab-" + name},
		"userData": "#cloud-config\nhostname: " + name + "\n",
	}
}

// machine boots a machine and returns its instance in the account.
func (l *lab) machine(name string) aws.Instance {
	l.Helper()
	return l.instance(l.create(instanceType, name, l.inputs(name)))
}

func (l *lab) instance(id string) aws.Instance {
	l.Helper()
	list, err := l.driver.account.Instances()
	require.NoError(l, err)
	for _, i := range list {
		if i.ID == id {
			return i
		}
	}
	l.Fatalf("there is no instance %s", id)
	return aws.Instance{}
}

// box returns the id of a machine's container.
func (l *lab) box(i aws.Instance) string {
	l.Helper()
	found, err := l.driver.find(l.Context())
	require.NoError(l, err)
	require.Contains(l, found.boxes, i.ID)
	return found.boxes[i.ID].ID
}

// in runs a shell command in a machine, as root, and returns its output and its exit code.
func (l *lab) in(i aws.Instance, format string, args ...any) (string, int) {
	l.Helper()
	output, exit, err := l.driver.exec(l.Context(), l.box(i), "bash", "-c", fmt.Sprintf(format, args...))
	require.NoError(l, err)
	return strings.TrimSpace(output), exit
}

// says is like in, but the command must succeed.
func (l *lab) says(i aws.Instance, format string, args ...any) string {
	l.Helper()
	output, exit := l.in(i, format, args...)
	require.Zero(l, exit, output)
	return output
}

// overSSH runs a command as the operator would.
func (l *lab) overSSH(i aws.Instance, command string) string {
	l.Helper()
	client, err := ssh.Dial("tcp", i.PublicIP+":22", &ssh.ClientConfig{
		User: "ubuntu", Auth: []ssh.AuthMethod{ssh.PublicKeys(l.key)}, Timeout: 5 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // the key was generated at boot, so there is nothing to compare it with
	})
	require.NoError(l, err)
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	require.NoError(l, err)
	output, err := session.CombinedOutput(command)
	require.NoError(l, err, string(output))
	return strings.TrimSpace(string(output))
}
