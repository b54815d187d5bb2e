package awsapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/imds"
	"eco2/rehearsal/plugin"
)

const (
	region  = "ap-northeast-2"
	cluster = "eco2-dev"
	domain  = "dev.example.com"
)

type props = map[string]any

// world is an account with a network, machines in two of its three zones, and the program's role.
type world struct {
	*testing.T
	*client.Client
	create    func(typ, name string, in props) string
	account   *aws.Account
	vpc       string
	subnets   []string // a and b, and another in a
	group     string
	instances []string // in a and b
	roles     string   // the profile's
	server    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	state := t.TempDir()
	provider, err := aws.New(state, nil)
	require.NoError(t, err)
	require.NoError(t, provider.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": region})))
	w := &world{T: t, account: aws.Open(state)}
	w.create = func(typ, name string, in props) string {
		t.Helper()
		kind := provider.Kinds(typ)
		inputs, failures := kind.Check(t.Context(), &plugin.Request{Type: typ, Name: name, Inputs: resource.NewPropertyMapFromMap(in)})
		require.Empty(t, failures)
		id, _, err := kind.Create(t.Context(), &plugin.Request{Type: typ, Name: name, Inputs: inputs})
		require.NoError(t, err)
		return id
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`
	w.roles = w.create("aws:iam/role:Role", "node", props{"name": cluster + "-node", "assumeRolePolicy": trust})
	for name, document := range programsPolicies(t) {
		w.create("aws:iam/rolePolicy:RolePolicy", name, props{"name": name, "role": w.roles, "policy": document})
	}
	w.create("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "volumes", props{"role": w.roles,
		"policyArn": "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicyV2"})
	profile := w.create("aws:iam/instanceProfile:InstanceProfile", "node", props{"name": cluster + "-node", "role": w.roles})
	w.vpc = w.create("aws:ec2/vpc:Vpc", "vpc", props{"cidrBlock": "10.0.0.0/16"})
	for i, zone := range []string{"a", "b", "a"} {
		w.subnets = append(w.subnets, w.create("aws:ec2/subnet:Subnet", zone, props{"vpcId": w.vpc, "cidrBlock": fmt.Sprintf("10.0.%d.0/20", i*16),
			"availabilityZone": region + zone, "tags": props{"kubernetes.io/role/elb": "1"}}))
	}
	w.group = w.create("aws:ec2/securityGroup:SecurityGroup", "cluster", props{"vpcId": w.vpc, "name": "cluster"})
	for _, subnet := range w.subnets[:2] {
		w.instances = append(w.instances, w.create("aws:ec2/instance:Instance", "node", props{
			"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In(region), "instanceType": "t3.small", "subnetId": subnet,
			"vpcSecurityGroupIds": []any{w.group}, "iamInstanceProfile": profile,
		}))
	}
	server := httptest.NewServer(Handler(w.account, w.vpc))
	t.Cleanup(server.Close)
	w.server = server.URL
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_REGION", region)
	w.from(w.vpc, "10.0.0.4")
	return w
}

// from makes calls come from the instance at an address, which the metadata service tells its credentials.
func (w *world) from(vpc, address string) {
	w.Helper()
	service := imds.New(w.account, vpc)
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

// programsPolicies are those that the program gives its nodes, by name.
func programsPolicies(t *testing.T) map[string]string {
	t.Helper()
	golden, err := os.ReadFile("../../testdata/dev.golden")
	require.NoError(t, err)
	policies := map[string]string{}
	for _, block := range strings.Split(string(golden), "\naws:iam/rolePolicy:RolePolicy node-")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		_, text, ok := strings.Cut(rest, "  policy: ")
		require.True(t, ok, name)
		var document json.RawMessage
		require.NoError(t, json.NewDecoder(strings.NewReader(text)).Decode(&document))
		policies[name] = strings.ReplaceAll(string(document), "Z0123456789ABCDEFGHIJ", aws.HostedZone)
	}
	require.Len(t, policies, 4)
	return policies
}

func (w *world) call(service, target string, in, out any) error {
	return w.Call(w.Context(), service, target, in, out)
}

// code is AWS's for an error.
func code(t *testing.T, err error) string {
	t.Helper()
	var refused *client.Error
	require.ErrorAs(t, err, &refused)
	return refused.Code
}

func TestCallers(t *testing.T) {
	w := newWorld(t)
	who := fmt.Sprintf("arn:aws:sts::%s:assumed-role/eco2-dev-node/%s", aws.AccountID, w.instances[0])
	require.NoError(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.vpc}, nil))
	err := w.call(ec2.Service, ec2.CreateSecurityGroup, ec2.NewSecurityGroup{VpcID: w.vpc, GroupName: "k8s"}, nil)
	assert.EqualError(t, err, fmt.Sprintf("calling EC2.CreateSecurityGroup: UnauthorizedOperation: You are not authorized to perform this operation. "+
		"User: %s is not authorized to perform: ec2:CreateSecurityGroup on resource: arn:aws:ec2:%s:%s:vpc/%s because no identity-based policy allows the ec2:CreateSecurityGroup action",
		who, region, aws.AccountID, w.vpc))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", "AmazonSSM.PutParameter", props{}, nil)))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", ec2.DescribeSubnets, props{}, nil)))
	assert.Equal(t, "SerializationException", code(t, w.call(ec2.Service, ec2.DescribeSubnets, props{"Vpc": "x"}, nil)))

	t.Run("without a signature", func(t *testing.T) {
		response, err := http.Post(w.server, "application/x-amz-json-1.1", strings.NewReader("{}"))
		require.NoError(t, err)
		var body map[string]string
		require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Equal(t, "MissingAuthenticationTokenException", body["__type"])
	})
	t.Run("with a request that was changed on its way", func(t *testing.T) {
		handler := Handler(w.account, w.vpc)
		changed := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Amz-Target", ec2.DescribeVolumes)
			handler.ServeHTTP(out, r)
		}))
		t.Cleanup(changed.Close)
		t.Setenv("AWS_ENDPOINT_URL", changed.URL)
		assert.Equal(t, "SignatureDoesNotMatch", code(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.vpc}, nil)))
	})
	t.Run("of another network", func(t *testing.T) {
		other := httptest.NewServer(Handler(w.account, "vpc-other"))
		t.Cleanup(other.Close)
		t.Setenv("AWS_ENDPOINT_URL", other.URL)
		assert.Equal(t, "UnrecognizedClientException", code(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.vpc}, nil)))
	})
}

func TestParameters(t *testing.T) {
	w := newWorld(t)
	for name, typ := range map[string]string{
		"/eco2/dev/data/postgres-password": "SecureString", "/eco2/dev/cluster/region": "String", "/eco2/prod/cluster/region": "String",
	} {
		w.create("aws:ssm/parameter:Parameter", name, props{"name": name, "type": typ, "value": "value of " + name})
	}
	type one struct{ Parameter parameter }
	get := func(name string, decrypt bool) (out one, err error) {
		return out, w.call("ssm", "AmazonSSM.GetParameter", props{"Name": name, "WithDecryption": decrypt}, &out)
	}
	out, err := get("/eco2/dev/data/postgres-password", true)
	require.NoError(t, err)
	assert.Equal(t, parameter{
		ARN: fmt.Sprintf("arn:aws:ssm:%s:%s:parameter/eco2/dev/data/postgres-password", region, aws.AccountID), DataType: "text",
		Name: "/eco2/dev/data/postgres-password", Type: "SecureString", Value: "value of /eco2/dev/data/postgres-password", Version: 1,
	}, out.Parameter)
	out, err = get("/eco2/dev/data/postgres-password", false)
	require.NoError(t, err)
	assert.NotContains(t, out.Parameter.Value, "value of")
	_, err = get("/eco2/dev/none", true)
	assert.Equal(t, "ParameterNotFound", code(t, err))
	_, err = get("/eco2/prod/cluster/region", true)
	assert.Equal(t, "AccessDeniedException", code(t, err))
	assert.ErrorContains(t, err, "parameter/eco2/prod/cluster/region because no identity-based policy allows the ssm:GetParameter action")

	list := func(path string, recursive bool) (names []string) {
		var out struct{ Parameters []parameter }
		require.NoError(t, w.call("ssm", "AmazonSSM.GetParametersByPath", props{"Path": path, "Recursive": recursive, "WithDecryption": true}, &out))
		for _, p := range out.Parameters {
			names = append(names, p.Name)
		}
		return names
	}
	assert.Equal(t, []string{"/eco2/dev/cluster/region", "/eco2/dev/data/postgres-password"}, list("/eco2/dev", true))
	assert.Empty(t, list("/eco2/dev", false))
	assert.Equal(t, []string{"/eco2/dev/cluster/region"}, list("/eco2/dev/cluster/", false))
	assert.Equal(t, "AccessDeniedException", code(t, w.call("ssm", "AmazonSSM.GetParametersByPath", props{"Path": "/", "Recursive": true}, nil)))
}

func (w *world) balancer() elb.LoadBalancer {
	return elb.LoadBalancer{
		Name: "k8s-eco2dev-0123456789", SubnetIDs: w.subnets[:2], SecurityGroupIDs: []string{w.group},
		Listeners: []elb.Listener{
			{Port: 80, Protocol: "HTTP", Rules: []elb.Rule{{Host: "argocd." + domain, Path: "/*", TargetGroup: "k8s-argocd-1"}}},
		},
		TargetGroups: []elb.TargetGroup{{Name: "k8s-argocd-1", Protocol: "HTTP", NodePort: 30080, HealthCheckPath: "/healthz", HealthCheckCodes: "200", InstanceIDs: w.instances}},
		Tags:         map[string]string{"elbv2.k8s.aws/cluster": cluster},
	}
}

func TestLoadBalancers(t *testing.T) {
	w := newWorld(t)
	do := func(target string, in any) (out elb.LoadBalancer, err error) {
		return out, w.call(elb.Service, target, in, &out)
	}
	foreign := w.create("aws:ec2/securityGroup:SecurityGroup", "foreign", props{"name": "foreign", "vpcId": w.create("aws:ec2/vpc:Vpc", "other", props{"cidrBlock": "10.1.0.0/16"})})
	pending := w.create("aws:acm/certificate:Certificate", "certificate", props{"domainName": domain, "validationMethod": "DNS"})
	for name, test := range map[string]struct {
		change func(*elb.LoadBalancer)
		code   string
	}{
		"of another cluster":          {func(b *elb.LoadBalancer) { b.Tags = map[string]string{"elbv2.k8s.aws/cluster": "other"} }, "AccessDenied"},
		"of no cluster":               {func(b *elb.LoadBalancer) { b.Tags = nil }, "AccessDenied"},
		"in one zone":                 {func(b *elb.LoadBalancer) { b.SubnetIDs = w.subnets[:1] }, "ValidationError"},
		"twice in one zone":           {func(b *elb.LoadBalancer) { b.SubnetIDs = w.subnets }, "InvalidConfigurationRequest"},
		"in no subnet of the account": {func(b *elb.LoadBalancer) { b.SubnetIDs = []string{w.subnets[0], "subnet-0"} }, "SubnetNotFound"},
		"with no group":               {func(b *elb.LoadBalancer) { b.SecurityGroupIDs = nil }, "InvalidSecurityGroup"},
		"with a made-up group":        {func(b *elb.LoadBalancer) { b.SecurityGroupIDs = []string{"sg-0"} }, "InvalidSecurityGroup"},
		"with another network's":      {func(b *elb.LoadBalancer) { b.SecurityGroupIDs = []string{foreign} }, "InvalidSecurityGroup"},
		"with a long name":            {func(b *elb.LoadBalancer) { b.Name += "01234567890123456789" }, "ValidationError"},
		"without a certificate":       {func(b *elb.LoadBalancer) { b.Listeners[0].Protocol = "HTTPS" }, "ValidationError"},
		"with a made-up certificate":  {func(b *elb.LoadBalancer) { b.CertificateARNs = []string{"arn:x"} }, "CertificateNotFound"},
		"with a pending certificate":  {func(b *elb.LoadBalancer) { b.CertificateARNs = []string{pending} }, "UnsupportedCertificate"},
		"with a made-up machine":      {func(b *elb.LoadBalancer) { b.TargetGroups[0].InstanceIDs = []string{"i-0"} }, "InvalidTarget"},
		"without a port":              {func(b *elb.LoadBalancer) { b.TargetGroups[0].NodePort = 0 }, "ValidationError"},
		"with a rule to nowhere":      {func(b *elb.LoadBalancer) { b.Listeners[0].Rules[0].TargetGroup = "x" }, "TargetGroupNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.balancer()
			test.change(&b)
			_, err := do(elb.CreateLoadBalancer, b)
			assert.Equal(t, test.code, code(t, err))
		})
	}
	list, err := w.account.LoadBalancers()
	require.NoError(t, err)
	require.Empty(t, list)

	made, err := do(elb.CreateLoadBalancer, w.balancer())
	require.NoError(t, err)
	assert.Equal(t, "k8s-eco2dev-0123456789."+region+".elb.amazonaws.com", made.DNSName)
	assert.Equal(t, w.vpc, made.VPCID)
	assert.Equal(t, "active", made.State)
	_, err = do(elb.CreateLoadBalancer, w.balancer())
	assert.Equal(t, "DuplicateLoadBalancerName", code(t, err))

	made.TargetGroups[0].InstanceIDs = w.instances[1:]
	made.TargetGroups = append(made.TargetGroups, elb.TargetGroup{Name: "k8s-auth-1", Protocol: "HTTP", NodePort: 30081})
	made.Listeners[0].Rules = append(made.Listeners[0].Rules, elb.Rule{Host: "auth." + domain, TargetGroup: "k8s-auth-1"})
	made.Listeners = append(made.Listeners, elb.Listener{Port: 8080, Protocol: "HTTP", RedirectPort: 443})
	changed, err := do(elb.ModifyLoadBalancer, made)
	require.NoError(t, err)
	assert.Equal(t, made, changed)
	var described elb.LoadBalancers
	require.NoError(t, w.call(elb.Service, elb.DescribeLoadBalancers, elb.Filter{Names: []string{made.Name}}, &described))
	assert.Equal(t, []elb.LoadBalancer{changed}, described.LoadBalancers)
	inventory, err := w.account.Inventory()
	require.NoError(t, err)
	assert.Equal(t, 1, inventory.Counts()["loadbalancer"])
	assert.Equal(t, 2, inventory.Counts()["targetGroup"])
	assert.Equal(t, len(w.instances)+2, inventory.Counts()["networkInterface"])

	require.NoError(t, w.account.PutLoadBalancer(aws.LoadBalancer{ARN: "arn:foreign", Name: "foreign", VPCID: w.vpc}))
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: "arn:foreign"})
	assert.Equal(t, "AccessDenied", code(t, err))
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: made.ARN})
	require.NoError(t, err)
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: made.ARN})
	assert.Equal(t, "LoadBalancerNotFound", code(t, err))
	require.NoError(t, w.account.DeleteLoadBalancer("arn:foreign", time.Now()))
	inventory, err = w.account.Inventory()
	require.NoError(t, err)
	assert.Zero(t, inventory.Counts()["loadbalancer"])
	assert.Zero(t, inventory.Counts()["targetGroup"])
	assert.Equal(t, len(w.instances), inventory.Counts()["networkInterface"])
}

func TestVolumes(t *testing.T) {
	w := newWorld(t)
	owned := map[string]string{"ebs.csi.aws.com/cluster": "true", "kubernetes.io/cluster/" + cluster: "owned"}
	want := ec2.NewVolume{ClientToken: "pvc-1", AvailabilityZone: region + "a", Size: 1, Tags: owned}
	var v, again ec2.Volume
	require.NoError(t, w.call(ec2.Service, ec2.CreateVolume, want, &v))
	require.NoError(t, w.call(ec2.Service, ec2.CreateVolume, want, &again))
	assert.Equal(t, v, again)
	assert.Equal(t, ec2.Volume{VolumeID: v.VolumeID, AvailabilityZone: region + "a", Size: 1, Tags: owned}, v)
	larger := want
	larger.Size = 2
	assert.Equal(t, "IdempotentParameterMismatch", code(t, w.call(ec2.Service, ec2.CreateVolume, larger, nil)))
	untagged := ec2.NewVolume{ClientToken: "pvc-2", AvailabilityZone: region + "a", Size: 1}
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ec2.Service, ec2.CreateVolume, untagged, nil)))
	elsewhere := ec2.NewVolume{AvailabilityZone: region + "z", Size: 1, Tags: owned}
	assert.Equal(t, "InvalidZone.NotFound", code(t, w.call(ec2.Service, ec2.CreateVolume, elsewhere, nil)))

	here, there := ec2.Attachment{VolumeID: v.VolumeID, InstanceID: w.instances[0]}, ec2.Attachment{VolumeID: v.VolumeID, InstanceID: w.instances[1]}
	assert.Equal(t, "InvalidVolume.ZoneMismatch", code(t, w.call(ec2.Service, ec2.AttachVolume, there, nil)))
	require.NoError(t, w.call(ec2.Service, ec2.AttachVolume, here, nil))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ec2.Service, ec2.AttachVolume, here, nil)))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil)))
	assert.Equal(t, "IncorrectState", code(t, w.call(ec2.Service, ec2.DetachVolume, there, nil)))
	var list ec2.Volumes
	require.NoError(t, w.call(ec2.Service, ec2.DescribeVolumes, ec2.VolumeIDs{VolumeIDs: []string{v.VolumeID}}, &list))
	require.Len(t, list.Volumes, 1)
	assert.Equal(t, w.instances[0], list.Volumes[0].InstanceID)
	require.NoError(t, w.call(ec2.Service, ec2.DetachVolume, here, nil))

	require.NoError(t, w.account.PutVolume(aws.Volume{ID: "vol-foreign", Tags: map[string]string{"Name": "foreign"}}))
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: "vol-foreign"}, nil)))
	require.NoError(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil))
	assert.Equal(t, "InvalidVolume.NotFound", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil)))
}

func TestNetwork(t *testing.T) {
	w := newWorld(t)
	var subnets ec2.Subnets
	require.NoError(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.vpc}, &subnets))
	require.Len(t, subnets.Subnets, 3)
	assert.Equal(t, "1", subnets.Subnets[0].Tags["kubernetes.io/role/elb"])
	var instances ec2.Instances
	require.NoError(t, w.call(ec2.Service, ec2.DescribeInstances, ec2.InVPC{VpcID: w.vpc}, &instances))
	require.Len(t, instances.Instances, 2)
	for _, i := range instances.Instances {
		assert.Contains(t, w.instances, i.InstanceID)
		assert.Equal(t, "running", i.State)
		assert.True(t, strings.HasPrefix(i.PrivateDNSName, "ip-10-0-"), i.PrivateDNSName)
	}
	require.NoError(t, w.call(ec2.Service, ec2.DescribeInstances, ec2.InVPC{VpcID: "vpc-none"}, &instances))
}
