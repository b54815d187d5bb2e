package awsapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi"
	"eco2/rehearsal/awsapi/awsapitest"
	"eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
)

const (
	region  = awsapitest.Region
	cluster = awsapitest.Cluster
	zone    = "example.com"
	domain  = "dev." + zone
)

type props = map[string]any

type world struct{ *awsapitest.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{awsapitest.New(t, "../..")}
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
	who := fmt.Sprintf("arn:aws:sts::%s:assumed-role/eco2-dev-node/%s", aws.AccountID, w.Instances[0])
	require.NoError(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.VPC}, nil))
	err := w.call(ec2.Service, ec2.CreateSecurityGroup, ec2.NewSecurityGroup{VpcID: w.VPC, GroupName: "k8s"}, nil)
	assert.EqualError(t, err, fmt.Sprintf("calling EC2.CreateSecurityGroup: UnauthorizedOperation: You are not authorized to perform this operation. "+
		"User: %s is not authorized to perform: ec2:CreateSecurityGroup on resource: arn:aws:ec2:%s:%s:vpc/%s because no identity-based policy allows the ec2:CreateSecurityGroup action",
		who, region, aws.AccountID, w.VPC))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", "AmazonSSM.PutParameter", props{}, nil)))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", ec2.DescribeSubnets, props{}, nil)))
	assert.Equal(t, "SerializationException", code(t, w.call(ec2.Service, ec2.DescribeSubnets, props{"Vpc": "x"}, nil)))

	t.Run("without a signature", func(t *testing.T) {
		response, err := http.Post(w.Server, "application/x-amz-json-1.1", strings.NewReader("{}"))
		require.NoError(t, err)
		var body map[string]string
		require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Equal(t, "MissingAuthenticationTokenException", body["__type"])
	})
	t.Run("with a request that was changed on its way", func(t *testing.T) {
		handler := awsapi.Handler(w.Account, w.VPC)
		changed := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Amz-Target", ec2.DescribeVolumes)
			handler.ServeHTTP(out, r)
		}))
		t.Cleanup(changed.Close)
		t.Setenv("AWS_ENDPOINT_URL", changed.URL)
		assert.Equal(t, "SignatureDoesNotMatch", code(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.VPC}, nil)))
	})
	t.Run("of another network", func(t *testing.T) {
		other := httptest.NewServer(awsapi.Handler(w.Account, "vpc-other"))
		t.Cleanup(other.Close)
		t.Setenv("AWS_ENDPOINT_URL", other.URL)
		assert.Equal(t, "UnrecognizedClientException", code(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.VPC}, nil)))
	})
}

// parameter is one as a client gets it.
type parameter struct {
	ARN, DataType, Name, Type, Value string
	Version                          int
}

func TestParameters(t *testing.T) {
	w := newWorld(t)
	for name, typ := range map[string]string{
		"/eco2/dev/data/postgres-password": "SecureString", "/eco2/dev/cluster/region": "String", "/eco2/prod/cluster/region": "String",
	} {
		w.Create("aws:ssm/parameter:Parameter", name, props{"name": name, "type": typ, "value": "value of " + name})
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
		Name: "k8s-eco2dev-0123456789", SubnetIDs: w.Subnets[:2], SecurityGroupIDs: []string{w.Group},
		Listeners: []elb.Listener{
			{Port: 80, Protocol: "HTTP", Rules: []elb.Rule{{Host: "argocd." + domain, Path: "/*", TargetGroup: "k8s-argocd-1"}}},
		},
		TargetGroups: []elb.TargetGroup{{Name: "k8s-argocd-1", Protocol: "HTTP", NodePort: 30080, HealthCheckPath: "/healthz", HealthCheckCodes: "200", InstanceIDs: w.Instances}},
		Tags:         map[string]string{"elbv2.k8s.aws/cluster": cluster},
	}
}

func TestLoadBalancers(t *testing.T) {
	w := newWorld(t)
	do := func(target string, in any) (out elb.LoadBalancer, err error) {
		return out, w.call(elb.Service, target, in, &out)
	}
	foreign := w.Create("aws:ec2/securityGroup:SecurityGroup", "foreign", props{"name": "foreign", "vpcId": w.Create("aws:ec2/vpc:Vpc", "other", props{"cidrBlock": "10.1.0.0/16"})})
	pending := w.Create("aws:acm/certificate:Certificate", "certificate", props{"domainName": domain, "validationMethod": "DNS"})
	for name, test := range map[string]struct {
		change func(*elb.LoadBalancer)
		code   string
	}{
		"of another cluster":          {func(b *elb.LoadBalancer) { b.Tags = map[string]string{"elbv2.k8s.aws/cluster": "other"} }, "AccessDenied"},
		"of no cluster":               {func(b *elb.LoadBalancer) { b.Tags = nil }, "AccessDenied"},
		"in one zone":                 {func(b *elb.LoadBalancer) { b.SubnetIDs = w.Subnets[:1] }, "ValidationError"},
		"twice in one zone":           {func(b *elb.LoadBalancer) { b.SubnetIDs = w.Subnets }, "InvalidConfigurationRequest"},
		"in no subnet of the account": {func(b *elb.LoadBalancer) { b.SubnetIDs = []string{w.Subnets[0], "subnet-0"} }, "SubnetNotFound"},
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
	list, err := w.Account.LoadBalancers()
	require.NoError(t, err)
	require.Empty(t, list)

	made, err := do(elb.CreateLoadBalancer, w.balancer())
	require.NoError(t, err)
	assert.Equal(t, "k8s-eco2dev-0123456789."+region+".elb.amazonaws.com", made.DNSName)
	assert.Equal(t, w.VPC, made.VPCID)
	assert.Equal(t, "active", made.State)
	_, err = do(elb.CreateLoadBalancer, w.balancer())
	assert.Equal(t, "DuplicateLoadBalancerName", code(t, err))

	made.TargetGroups[0].InstanceIDs = w.Instances[1:]
	made.TargetGroups = append(made.TargetGroups, elb.TargetGroup{Name: "k8s-auth-1", Protocol: "HTTP", NodePort: 30081})
	made.Listeners[0].Rules = append(made.Listeners[0].Rules, elb.Rule{Host: "auth." + domain, TargetGroup: "k8s-auth-1"})
	made.Listeners = append(made.Listeners, elb.Listener{Port: 8080, Protocol: "HTTP", RedirectPort: 443})
	changed, err := do(elb.ModifyLoadBalancer, made)
	require.NoError(t, err)
	assert.Equal(t, made, changed)
	var described elb.LoadBalancers
	require.NoError(t, w.call(elb.Service, elb.DescribeLoadBalancers, elb.Filter{Names: []string{made.Name}}, &described))
	assert.Equal(t, []elb.LoadBalancer{changed}, described.LoadBalancers)
	inventory, err := w.Account.Inventory()
	require.NoError(t, err)
	assert.Equal(t, 1, inventory.Counts()["loadbalancer"])
	assert.Equal(t, 2, inventory.Counts()["targetGroup"])
	assert.Equal(t, len(w.Instances)+2, inventory.Counts()["networkInterface"])

	others := aws.LoadBalancer{ARN: strings.ReplaceAll(made.ARN, "k8s-eco2dev", "k8s-eco2prod"), Name: "others", VPCID: w.VPC,
		Tags: map[string]string{"elbv2.k8s.aws/cluster": "eco2-prod"}}
	require.NoError(t, w.Account.PutLoadBalancer(others))
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: others.ARN})
	assert.Equal(t, "AccessDenied", code(t, err))
	require.NoError(t, w.call(elb.Service, elb.DescribeLoadBalancers, elb.Filter{Names: []string{others.Name}}, &described))
	taken := described.LoadBalancers[0]
	taken.Tags = map[string]string{"elbv2.k8s.aws/cluster": cluster}
	_, err = do(elb.ModifyLoadBalancer, taken)
	assert.Equal(t, "AccessDenied", code(t, err), "what has this cluster's tag would be this cluster's")
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: made.ARN})
	require.NoError(t, err)
	_, err = do(elb.DeleteLoadBalancer, elb.Reference{ARN: made.ARN})
	assert.Equal(t, "LoadBalancerNotFound", code(t, err))
	require.NoError(t, w.Account.DeleteLoadBalancer(others.ARN, time.Now()))
	inventory, err = w.Account.Inventory()
	require.NoError(t, err)
	assert.Zero(t, inventory.Counts()["loadbalancer"])
	assert.Zero(t, inventory.Counts()["targetGroup"])
	assert.Equal(t, len(w.Instances), inventory.Counts()["networkInterface"])
}

func TestVolumes(t *testing.T) {
	w := newWorld(t)
	owned := map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": cluster}
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

	here, there := ec2.Attachment{VolumeID: v.VolumeID, InstanceID: w.Instances[0]}, ec2.Attachment{VolumeID: v.VolumeID, InstanceID: w.Instances[1]}
	assert.Equal(t, "InvalidVolume.ZoneMismatch", code(t, w.call(ec2.Service, ec2.AttachVolume, there, nil)))
	require.NoError(t, w.call(ec2.Service, ec2.AttachVolume, here, nil))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ec2.Service, ec2.AttachVolume, here, nil)))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil)))
	assert.Equal(t, "IncorrectState", code(t, w.call(ec2.Service, ec2.DetachVolume, there, nil)))
	var list ec2.Volumes
	require.NoError(t, w.call(ec2.Service, ec2.DescribeVolumes, ec2.VolumeIDs{VolumeIDs: []string{v.VolumeID}}, &list))
	require.Len(t, list.Volumes, 1)
	assert.Equal(t, w.Instances[0], list.Volumes[0].InstanceID)
	require.NoError(t, w.call(ec2.Service, ec2.DetachVolume, here, nil))

	others := map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "another"}
	forAnother := ec2.NewVolume{ClientToken: "pvc-3", AvailabilityZone: region + "a", Size: 1, Tags: others}
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ec2.Service, ec2.CreateVolume, forAnother, nil)))
	for id, tags := range map[string]map[string]string{"vol-foreign": {"Name": "foreign"}, "vol-another": others} {
		require.NoError(t, w.Account.PutVolume(aws.Volume{ID: id, AvailabilityZone: region + "a", Tags: tags}))
		assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: id}, nil)))
		assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ec2.Service, ec2.AttachVolume, ec2.Attachment{VolumeID: id, InstanceID: w.Instances[0]}, nil)))
	}
	stranger := w.Create("aws:ec2/instance:Instance", "stranger", map[string]any{"instanceType": "t3.small", "subnetId": w.Subnets[0],
		"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In(region)})
	refusal := w.call(ec2.Service, ec2.AttachVolume, ec2.Attachment{VolumeID: v.VolumeID, InstanceID: stranger}, nil)
	assert.Equal(t, "UnauthorizedOperation", code(t, refusal), "a machine without the cluster's tag")
	require.NoError(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil))
	assert.Equal(t, "InvalidVolume.NotFound", code(t, w.call(ec2.Service, ec2.DeleteVolume, ec2.VolumeID{VolumeID: v.VolumeID}, nil)))
}

func TestNetwork(t *testing.T) {
	w := newWorld(t)
	var subnets ec2.Subnets
	require.NoError(t, w.call(ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: w.VPC}, &subnets))
	require.Len(t, subnets.Subnets, 3)
	assert.Equal(t, "1", subnets.Subnets[0].Tags["kubernetes.io/role/elb"])
	var instances ec2.Instances
	require.NoError(t, w.call(ec2.Service, ec2.DescribeInstances, ec2.InVPC{VpcID: w.VPC}, &instances))
	require.Len(t, instances.Instances, 2)
	for _, i := range instances.Instances {
		assert.Contains(t, w.Instances, i.InstanceID)
		assert.Equal(t, "running", i.State)
		assert.True(t, strings.HasPrefix(i.PrivateDNSName, "ip-10-0-"), i.PrivateDNSName)
	}
	require.NoError(t, w.call(ec2.Service, ec2.DescribeInstances, ec2.InVPC{VpcID: "vpc-none"}, &instances))
}
