// Package awsapitest sets up an account in the model of AWS, for tests of its API and of its callers.
package awsapitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/client"
	"eco2/rehearsal/cloud/metadata"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/setup"
)

// The settings of the program's stack dev, which most tests use.
const (
	Region  = "ap-northeast-2"
	Cluster = "eco2-dev"
	Domain  = "dev.growbin.app"
)

type props = map[string]any

const policyType = "aws:iam/rolePolicy:RolePolicy"

// World is an account with a network, instances in two availability zones, and the program's roles for them. The first
// instance is the control plane, from which its Client calls the API, and the second is a worker.
type World struct {
	*testing.T
	*client.Client
	Account *aws.Account
	// Subnets are in zones a, b and a again. Instances are in the first two.
	Subnets, Instances []string
	VPC, Group         string
	// Dir is the state directory of the account.
	Dir string
	// Role is the name of the control plane's role.
	Role string
	// API is the API that is served at the URL Server.
	API    *api.API
	Server string

	provider plugin.Provider
	// policies maps the names of Role's policies to their IDs.
	policies map[string]string
}

// New returns a new world for the stack dev. Until the test ends, the environment variables of AWS's SDKs point to it.
// repo is the path of the project's checkout.
func New(t *testing.T, repo string) *World {
	t.Helper()
	return NewStack(t, repo, "dev")
}

// NewStack is New for the given committed stack.
func NewStack(t *testing.T, repo, stack string) *World {
	t.Helper()
	cluster := "eco2-" + stack
	state := t.TempDir()
	model, err := provider.New(state, nil)
	require.NoError(t, err)
	require.NoError(t, model.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": Region})))
	w := &World{T: t, Dir: state, Account: aws.Open(state), provider: model, policies: map[string]string{}}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`
	w.Role = w.Create("aws:iam/role:Role", "control-plane", props{"name": cluster + "-node", "assumeRolePolicy": trust,
		"tags": props{"eks-cluster-name": cluster}})
	for name, document := range programsPolicies(t, repo, stack, "control-plane") {
		w.policies[name] = w.Create(policyType, name, props{"name": name, "role": w.Role, "policy": document})
	}
	w.Create("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "volumes", props{"role": w.Role,
		"policyArn": aws.EBSClusterScopedPolicy})
	worker := w.Create("aws:iam/role:Role", "worker", props{"name": cluster + "-worker", "assumeRolePolicy": trust})
	for name, document := range programsPolicies(t, repo, stack, "worker") {
		w.Create(policyType, "worker-"+name, props{"name": name, "role": worker, "policy": document})
	}
	profile := func(role string) string {
		return w.Create("aws:iam/instanceProfile:InstanceProfile", role, props{"name": role, "role": role})
	}
	profiles := []string{profile(w.Role), profile(worker)}
	w.VPC = w.Create("aws:ec2/vpc:Vpc", "vpc", props{"cidrBlock": "10.0.0.0/16"})
	for i, zone := range []string{"a", "b", "a"} {
		w.Subnets = append(w.Subnets, w.Create("aws:ec2/subnet:Subnet", zone, props{"vpcId": w.VPC, "cidrBlock": fmt.Sprintf("10.0.%d.0/20", i*16),
			"availabilityZone": Region + zone, "tags": props{"kubernetes.io/role/elb": "1"}}))
	}
	gateway := w.Create("aws:ec2/internetGateway:InternetGateway", "internet", props{"vpcId": w.VPC})
	table := w.Create("aws:ec2/routeTable:RouteTable", "public", props{"vpcId": w.VPC})
	w.Create("aws:ec2/route:Route", "internet", props{"routeTableId": table, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": gateway})
	for _, subnet := range w.Subnets {
		w.Create("aws:ec2/routeTableAssociation:RouteTableAssociation", "public", props{"routeTableId": table, "subnetId": subnet})
	}
	w.Group = w.Create("aws:ec2/securityGroup:SecurityGroup", "cluster", props{"vpcId": w.VPC, "name": "cluster"})
	for i, subnet := range w.Subnets[:2] {
		w.Instances = append(w.Instances, w.Create("aws:ec2/instance:Instance", "node", props{
			"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In(Region), "instanceType": "t3.small", "subnetId": subnet,
			"vpcSecurityGroupIds": []any{w.Group}, "iamInstanceProfile": profiles[i],
			"tags": props{"Name": cluster + []string{"-k8s-master", "-k8s-redis"}[i], "ebs.csi.aws.com/cluster-name": cluster},
		}))
	}
	w.API = api.New(w.Account, w.VPC)
	server := httptest.NewServer(w.API)
	t.Cleanup(server.Close)
	w.Server = server.URL
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_REGION", Region)
	w.From(w.VPC, "10.0.0.4")
	return w
}

// Create creates a resource as the program would, and returns its ID.
func (w *World) Create(typ, name string, in map[string]any) string {
	w.Helper()
	id, _ := w.create(typ, name, in)
	return id
}

func (w *World) create(typ, name string, in map[string]any) (id string, out map[string]any) {
	w.Helper()
	kind := w.provider.Kinds(typ)
	inputs, failures := kind.Check(w.Context(), &plugin.Request{Type: typ, Name: name, Inputs: resource.NewPropertyMapFromMap(in)})
	require.Empty(w, failures)
	id, outputs, err := kind.Create(w.Context(), &plugin.Request{Type: typ, Name: name, Inputs: inputs})
	require.NoError(w, err)
	return id, outputs.Mappable()
}

// Revoke removes one of the program's policies from the control plane's role.
func (w *World) Revoke(name string) {
	w.Helper()
	require.Contains(w, w.policies, name)
	require.NoError(w, w.provider.Kinds(policyType).Delete(w.Context(), &plugin.Request{Type: policyType, Name: name, ID: w.policies[name]}))
}

// Certificate creates an issued certificate and returns its ARN.
func (w *World) Certificate(domain string) string {
	w.Helper()
	arn, out := w.create("aws:acm/certificate:Certificate", domain, props{"domainName": domain, "validationMethod": "DNS"})
	proof := out["domainValidationOptions"].([]any)[0].(props)
	w.Create("aws:route53/record:Record", domain, props{"zoneId": setup.HostedZone, "ttl": 60, "name": proof["resourceRecordName"],
		"type": proof["resourceRecordType"], "records": []any{proof["resourceRecordValue"]}})
	w.Create("aws:acm/certificateValidation:CertificateValidation", domain, props{"certificateArn": arn})
	return arn
}

// From makes the client call from the instance with this address, whose credentials it gets from a metadata service.
func (w *World) From(vpc, address string) {
	w.Helper()
	service := metadata.New(w.Account, vpc)
	metadata := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = address + ":40000"
		service.ServeHTTP(response, r.WithContext(w.Context()))
	}))
	w.Cleanup(metadata.Close)
	w.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	c, err := client.New(w.Context())
	require.NoError(w, err)
	w.Client = c
}

// programsPolicies returns the inline policies of a role of the program, by name.
func programsPolicies(t *testing.T, repo, stack, role string) map[string]string {
	t.Helper()
	golden, err := os.ReadFile(repo + "/testdata/" + stack + ".golden")
	require.NoError(t, err)
	policies := map[string]string{}
	for _, block := range strings.Split(string(golden), "\naws:iam/rolePolicy:RolePolicy "+role+"-")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		_, text, ok := strings.Cut(rest, "  policy: ")
		require.True(t, ok, name)
		var document json.RawMessage
		require.NoError(t, json.NewDecoder(strings.NewReader(text)).Decode(&document))
		policies[name] = strings.ReplaceAll(string(document), "Z0123456789ABCDEFGHIJ", setup.HostedZone)
	}
	require.NotEmpty(t, policies, role)
	return policies
}
