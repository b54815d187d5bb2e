package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/cloud/client"
	"eco2/rehearsal/cloud/client/ebs"
)

const (
	region  = awsapitest.Region
	cluster = awsapitest.Cluster
	domain  = awsapitest.Domain
	zone    = "growbin.app" // of which domain is a part
)

type props = map[string]any

type world struct{ *awsapitest.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{awsapitest.New(t, "../../..")}
}

func (w *world) call(service, target string, in, out any) error {
	return w.Call(w.Context(), service, target, in, out)
}

// code returns AWS's code of an error.
func code(t *testing.T, err error) string {
	t.Helper()
	var refused *client.Error
	require.ErrorAs(t, err, &refused)
	return refused.Code
}

func TestCallers(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.call(ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{}, nil))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", "AmazonSSM.PutParameter", props{}, nil)))
	assert.Equal(t, "UnknownOperationException", code(t, w.call("ssm", ebs.DescribeVolumes, props{}, nil)))
	assert.Equal(t, "SerializationException", code(t, w.call(ebs.Service, ebs.DescribeVolumes, props{"Vpc": "x"}, nil)))

	t.Run("without a signature", func(t *testing.T) {
		response, err := http.Post(w.Server, "application/x-amz-json-1.1", strings.NewReader("{}"))
		require.NoError(t, err)
		var body map[string]string
		require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Equal(t, "MissingAuthenticationTokenException", body["__type"])
	})
	t.Run("with a request that was changed after it was signed", func(t *testing.T) {
		handler := api.New(w.Account, w.VPC)
		changed := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Amz-Target", ebs.DeleteVolume)
			handler.ServeHTTP(out, r)
		}))
		t.Cleanup(changed.Close)
		t.Setenv("AWS_ENDPOINT_URL", changed.URL)
		assert.Equal(t, "SignatureDoesNotMatch", code(t, w.call(ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{}, nil)))
	})
	t.Run("from another VPC", func(t *testing.T) {
		other := httptest.NewServer(api.New(w.Account, "vpc-other"))
		t.Cleanup(other.Close)
		t.Setenv("AWS_ENDPOINT_URL", other.URL)
		assert.Equal(t, "UnrecognizedClientException", code(t, w.call(ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{}, nil)))
	})
}

// parameter is a parameter as a client gets it.
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
}

func TestVolumes(t *testing.T) {
	w := newWorld(t)
	owned := map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": cluster}
	want := ebs.NewVolume{ClientToken: "pvc-1", AvailabilityZone: region + "a", Size: 1, Tags: owned}
	var v, again ebs.Volume
	require.NoError(t, w.call(ebs.Service, ebs.CreateVolume, want, &v))
	require.NoError(t, w.call(ebs.Service, ebs.CreateVolume, want, &again))
	assert.Equal(t, v, again)
	assert.Equal(t, ebs.Volume{VolumeID: v.VolumeID, AvailabilityZone: region + "a", Size: 1, Tags: owned}, v)
	larger := want
	larger.Size = 2
	assert.Equal(t, "IdempotentParameterMismatch", code(t, w.call(ebs.Service, ebs.CreateVolume, larger, nil)))
	untagged := ebs.NewVolume{ClientToken: "pvc-2", AvailabilityZone: region + "a", Size: 1}
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ebs.Service, ebs.CreateVolume, untagged, nil)))
	elsewhere := ebs.NewVolume{AvailabilityZone: region + "z", Size: 1, Tags: owned}
	assert.Equal(t, "InvalidZone.NotFound", code(t, w.call(ebs.Service, ebs.CreateVolume, elsewhere, nil)))

	here, there := ebs.Attachment{VolumeID: v.VolumeID, InstanceID: w.Instances[0]}, ebs.Attachment{VolumeID: v.VolumeID, InstanceID: w.Instances[1]}
	assert.Equal(t, "InvalidVolume.ZoneMismatch", code(t, w.call(ebs.Service, ebs.AttachVolume, there, nil)))
	require.NoError(t, w.call(ebs.Service, ebs.AttachVolume, here, nil))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ebs.Service, ebs.AttachVolume, here, nil)))
	assert.Equal(t, "VolumeInUse", code(t, w.call(ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: v.VolumeID}, nil)))
	assert.Equal(t, "IncorrectState", code(t, w.call(ebs.Service, ebs.DetachVolume, there, nil)))
	var list ebs.Volumes
	require.NoError(t, w.call(ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{VolumeIDs: []string{v.VolumeID}}, &list))
	require.Len(t, list.Volumes, 1)
	assert.Equal(t, w.Instances[0], list.Volumes[0].InstanceID)
	require.NoError(t, w.call(ebs.Service, ebs.DetachVolume, here, nil))

	others := map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "another"}
	forAnother := ebs.NewVolume{ClientToken: "pvc-3", AvailabilityZone: region + "a", Size: 1, Tags: others}
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ebs.Service, ebs.CreateVolume, forAnother, nil)))
	for id, tags := range map[string]map[string]string{"vol-foreign": {"Name": "foreign"}, "vol-another": others} {
		require.NoError(t, w.Account.PutVolume(aws.Volume{ID: id, AvailabilityZone: region + "a", Tags: tags}))
		assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: id}, nil)))
		assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ebs.Service, ebs.AttachVolume, ebs.Attachment{VolumeID: id, InstanceID: w.Instances[0]}, nil)))
	}
	stranger := w.Create("aws:ec2/instance:Instance", "stranger", map[string]any{"instanceType": "t3.small", "subnetId": w.Subnets[0],
		"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In(region)})
	refusal := w.call(ebs.Service, ebs.AttachVolume, ebs.Attachment{VolumeID: v.VolumeID, InstanceID: stranger}, nil)
	assert.Equal(t, "UnauthorizedOperation", code(t, refusal), "an instance without the cluster's tag")
	require.NoError(t, w.call(ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: v.VolumeID}, nil))
	assert.Equal(t, "InvalidVolume.NotFound", code(t, w.call(ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: v.VolumeID}, nil)))
}
