package metadata

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
)

// service serves a VPC with two instances: strict, at 10.0.0.4, requires tokens; loose, at 10.0.0.5, does not.
type service struct {
	*testing.T
	*Service
	account       *aws.Account
	strict, loose aws.Instance
}

func newService(t *testing.T) *service {
	t.Helper()
	state := t.TempDir()
	model, err := provider.New(state, nil)
	require.NoError(t, err)
	type props = map[string]any
	require.NoError(t, model.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": "eu-central-1"})))
	create := func(typ, name string, in props) string {
		kind := model.Kinds(typ)
		inputs, failures := kind.Check(t.Context(), &plugin.Request{Type: typ, Name: name, Inputs: resource.NewPropertyMapFromMap(in)})
		require.Empty(t, failures)
		id, _, err := kind.Create(t.Context(), &plugin.Request{Type: typ, Name: name, Inputs: inputs})
		require.NoError(t, err)
		return id
	}
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyvhOBZbeeZZcbfrbMXiEVaAWfSVaWQ1nFHBFlTqYpX"
	create("aws:ec2/keyPair:KeyPair", "key", props{"keyName": "key", "publicKey": key})
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`
	role := create("aws:iam/role:Role", "node", props{"name": "node-role", "assumeRolePolicy": trust})
	profile := create("aws:iam/instanceProfile:InstanceProfile", "node", props{"name": "node-profile", "role": role})
	vpc := create("aws:ec2/vpc:Vpc", "vpc", props{"cidrBlock": "10.0.0.0/16"})
	create("aws:ec2/internetGateway:InternetGateway", "gateway", props{"vpcId": vpc})
	subnet := create("aws:ec2/subnet:Subnet", "a", props{"vpcId": vpc, "cidrBlock": "10.0.0.0/20",
		"availabilityZone": "eu-central-1a", "mapPublicIpOnLaunch": true})
	group := create("aws:ec2/securityGroup:SecurityGroup", "cluster", props{"vpcId": vpc, "name": "cluster"})
	instance := func(name, tokens string) string {
		return create("aws:ec2/instance:Instance", name, props{
			"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In("eu-central-1"), "instanceType": "t3.small", "subnetId": subnet,
			"keyName": "key", "vpcSecurityGroupIds": []any{group}, "iamInstanceProfile": profile, "userData": "#cloud-config\n",
			"metadataOptions": props{"httpTokens": tokens},
		})
	}
	s := &service{T: t, account: aws.Open(state)}
	strict, loose := instance("strict", "required"), instance("loose", "optional")
	list, err := s.account.Instances()
	require.NoError(t, err)
	for _, i := range list {
		switch i.ID {
		case strict:
			s.strict = i
		case loose:
			s.loose = i
		}
	}
	s.Service = New(s.account, vpc)
	return s
}

// ask sends a request from an address.
func (s *service) ask(method, from, path string, headers ...string) (int, string) {
	r := httptest.NewRequest(method, "http://"+Address+path, nil)
	r.RemoteAddr = from + ":40000"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func (s *service) token(from string) string {
	code, text := s.ask(http.MethodPut, from, "/latest/api/token", ttlHeader, "60")
	require.Equal(s, http.StatusOK, code, text)
	return text
}

func TestTokens(t *testing.T) {
	s := newService(t)
	const id = "/latest/meta-data/instance-id"
	strict, loose := s.strict.PrivateIP, s.loose.PrivateIP
	good := s.token(strict)
	for name, test := range map[string]struct {
		method, from, path string
		headers            []string
		code               int
	}{
		"version 1 where tokens are required": {http.MethodGet, strict, id, nil, 401},
		"version 1 where tokens are optional": {http.MethodGet, loose, id, nil, 200},
		"version 2":                           {http.MethodGet, strict, id, []string{tokenHeader, good}, 200},
		"a token of another instance":         {http.MethodGet, loose, id, []string{tokenHeader, good}, 401},
		"a token that was never issued":       {http.MethodGet, loose, id, []string{tokenHeader, "x"}, 401},
		"a token without a lifetime":          {http.MethodPut, strict, "/latest/api/token", nil, 400},
		"a token with too long a lifetime":    {http.MethodPut, strict, "/latest/api/token", []string{ttlHeader, "21601"}, 400},
		"a token through a proxy":             {http.MethodPut, strict, "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.4"}, 403},
		"an address of no instance":           {http.MethodGet, "10.0.0.99", id, nil, 404},
		"another method":                      {http.MethodPost, loose, id, nil, 405},
		"a path that does not exist":          {http.MethodGet, loose, "/latest/meta-data/spot", nil, 404},
		"data of an old version":              {http.MethodGet, loose, "/2021-07-15/meta-data/instance-id", nil, 200},
		"the root":                            {http.MethodGet, loose, "/", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := s.ask(test.method, test.from, test.path, test.headers...)
			assert.Equal(t, test.code, code, text)
		})
	}
}

func TestData(t *testing.T) {
	s := newService(t)
	get := func(path string) string {
		code, text := s.ask(http.MethodGet, s.strict.PrivateIP, "/latest/"+path, tokenHeader, s.token(s.strict.PrivateIP))
		require.Equal(t, http.StatusOK, code, path)
		return text
	}
	for path, want := range map[string]string{
		"meta-data/instance-id":                 s.strict.ID,
		"meta-data/instance-type":               "t3.small",
		"meta-data/ami-id":                      s.strict.Image,
		"meta-data/local-ipv4":                  "10.0.0.4",
		"meta-data/public-ipv4":                 s.strict.PublicIP,
		"meta-data/hostname":                    "ip-10-0-0-4.eu-central-1.compute.internal",
		"meta-data/placement":                   "availability-zone\nregion",
		"meta-data/placement/availability-zone": "eu-central-1a",
		"meta-data/placement/region":            "eu-central-1",
		"meta-data/security-groups":             "cluster",
		"meta-data/public-keys/":                "0/",
		"meta-data/iam/security-credentials/":   "node-role",
		"user-data":                             "#cloud-config",
	} {
		assert.Equal(t, want, get(path), path)
	}
	assert.Contains(t, get("meta-data/public-keys/0/openssh-key"), "ssh-ed25519 ")
	var info, credentials, document map[string]string
	require.NoError(t, json.Unmarshal([]byte(get("meta-data/iam/info")), &info))
	assert.Equal(t, "arn:aws:iam::123456789012:instance-profile/node-profile", info["InstanceProfileArn"])
	require.NoError(t, json.Unmarshal([]byte(get("meta-data/iam/security-credentials/node-role")), &credentials))
	assert.Equal(t, "Success", credentials["Code"])
	require.NoError(t, json.Unmarshal([]byte(get("dynamic/instance-identity/document")), &document))
	assert.Equal(t, s.strict.ID, document["instanceId"])
}
