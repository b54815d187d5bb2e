package provider

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/setup"
)

// Type tokens.
const (
	typVPC           = "aws:ec2/vpc:Vpc"
	typGateway       = "aws:ec2/internetGateway:InternetGateway"
	typSubnet        = "aws:ec2/subnet:Subnet"
	typTable         = "aws:ec2/routeTable:RouteTable"
	typRoute         = "aws:ec2/route:Route"
	typAssociation   = "aws:ec2/routeTableAssociation:RouteTableAssociation"
	typGroup         = "aws:ec2/securityGroup:SecurityGroup"
	typIngress       = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
	typEgress        = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
	typKey           = "aws:ec2/keyPair:KeyPair"
	typRole          = "aws:iam/role:Role"
	typPolicy        = "aws:iam/rolePolicy:RolePolicy"
	typAttachment    = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
	typProfile       = "aws:iam/instanceProfile:InstanceProfile"
	typInstance      = "aws:ec2/instance:Instance"
	typEIP           = "aws:ec2/eip:Eip"
	typEIPLink       = "aws:ec2/eipAssociation:EipAssociation"
	typParameter     = "aws:ssm/parameter:Parameter"
	typCertificate   = "aws:acm/certificate:Certificate"
	typCertValidated = "aws:acm/certificateValidation:CertificateValidation"
	typRecord        = "aws:route53/record:Record"
)

const (
	trust  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`
	policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:DescribeInstances"],"Resource":"*"}]}`
)

type in = map[string]any

// world is an account with a provider in eu-central-1.
type world struct {
	*testing.T
	cloud *cloud
	said  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := newCloud(t.TempDir())
	require.NoError(t, err)
	w := &world{T: t, cloud: c}
	c.status = func(_ context.Context, _ *plugin.Request, line string) { w.said = append(w.said, line) }
	w.configure(in{"region": "eu-central-1", "defaultTags": `{"tags":{"Project":"eco2"}}`})
	return w
}

func (w *world) configure(inputs in) {
	w.Helper()
	require.NoError(w, w.cloud.configure(context.Background(), resource.NewPropertyMapFromMap(inputs)))
}

func (w *world) check(typ, name string, inputs in) (resource.PropertyMap, []plugin.Failure) {
	w.Helper()
	k := w.cloud.kind(typ)
	require.NotNil(w, k, typ)
	return k.Check(context.Background(), &plugin.Request{Type: typ, Name: name, Inputs: resource.NewPropertyMapFromMap(inputs)})
}

// made is a resource as it is in the engine's state.
type made struct {
	typ, name, id string
	inputs        resource.PropertyMap
	state         resource.PropertyMap
}

func (m made) out(key string) any { return m.state[resource.PropertyKey(key)].Mappable() }

func (w *world) try(typ, name string, inputs in) (made, error) {
	w.Helper()
	checked, failures := w.check(typ, name, inputs)
	require.Empty(w, failures)
	id, out, err := w.cloud.kind(typ).Create(context.Background(), &plugin.Request{
		URN: resource.URN(typ + "::" + name), Type: typ, Name: name, Inputs: checked})
	return made{typ, name, id, checked, out}, err
}

func (w *world) make(typ, name string, inputs in) made {
	w.Helper()
	m, err := w.try(typ, name, inputs)
	require.NoError(w, err)
	require.NotEmpty(w, m.id)
	return m
}

func (w *world) delete(m made) error {
	return w.cloud.kind(m.typ).Delete(context.Background(), &plugin.Request{Type: m.typ, Name: m.name, ID: m.id, OldInputs: m.inputs, State: m.state})
}

// with returns a resource's inputs with some replaced; nil removes an input.
func (m made) with(change in) in {
	inputs := m.inputs.Mappable()
	delete(inputs, defaulted)
	maps.Copy(inputs, change)
	maps.DeleteFunc(inputs, func(_ string, v any) bool { return v == nil })
	return inputs
}

// changeRequest returns the request that the engine sends for a change, with inputs that Check returned.
func (w *world) changeRequest(m made, change in) *plugin.Request {
	w.Helper()
	r := &plugin.Request{Type: m.typ, Name: m.name, ID: m.id, OldInputs: m.inputs, State: m.state,
		Inputs: resource.NewPropertyMapFromMap(m.with(change))}
	if autoname := w.cloud.kind(m.typ).(*kind).autoname; madeUp(m.inputs, autoname) {
		delete(r.Inputs, resource.PropertyKey(autoname))
	}
	checked, failures := w.cloud.kind(m.typ).Check(context.Background(), r)
	require.Empty(w, failures)
	r.Inputs = checked
	return r
}

func (w *world) update(m made, change in) (made, error) {
	w.Helper()
	r := w.changeRequest(m, change)
	out, err := w.cloud.kind(m.typ).Update(context.Background(), r)
	m.inputs, m.state = r.Inputs, out
	return m, err
}

func (w *world) read(m made) resource.PropertyMap {
	w.Helper()
	id, out, err := w.cloud.kind(m.typ).Read(context.Background(), &plugin.Request{Type: m.typ, ID: m.id})
	require.NoError(w, err)
	require.Equal(w, m.id, id)
	return out
}

// cluster is a small but complete network with one instance that has an elastic address.
type cluster struct {
	vpc, gateway, subnet, table, route, association, group, self, ssh, egress made
	key, role, policy, attachment, profile, node, eip, link                   made
}

func (c cluster) order() []made {
	return []made{c.vpc, c.gateway, c.subnet, c.table, c.route, c.association, c.group, c.self, c.ssh, c.egress,
		c.key, c.role, c.policy, c.attachment, c.profile, c.node, c.eip, c.link}
}

func publicKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return authorized(t, public)
}

func authorized(t *testing.T, public any) string {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return string(ssh.MarshalAuthorizedKey(key))
}

func newestImage() string { return aws.UbuntuImage("20250821", "amd64", "x86_64").In("eu-central-1") }

func (w *world) cluster() (c cluster) {
	w.Helper()
	c.vpc = w.make(typVPC, "net", in{"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": true, "tags": in{"Name": "dev"}})
	c.gateway = w.make(typGateway, "igw", in{"vpcId": c.vpc.id})
	c.subnet = w.make(typSubnet, "public-a", in{"vpcId": c.vpc.id, "cidrBlock": "10.0.0.0/20", "availabilityZone": "eu-central-1a", "mapPublicIpOnLaunch": true})
	c.table = w.make(typTable, "public", in{"vpcId": c.vpc.id})
	c.route = w.make(typRoute, "internet", in{"routeTableId": c.table.id, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": c.gateway.id})
	c.association = w.make(typAssociation, "public-a", in{"routeTableId": c.table.id, "subnetId": c.subnet.id})
	c.group = w.make(typGroup, "cluster", in{"vpcId": c.vpc.id, "name": "cluster", "description": "The only group"})
	c.self = w.make(typIngress, "self", in{"securityGroupId": c.group.id, "ipProtocol": "-1", "referencedSecurityGroupId": c.group.id})
	c.ssh = w.make(typIngress, "ssh", in{"securityGroupId": c.group.id, "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "198.51.100.7/32"})
	c.egress = w.make(typEgress, "all", in{"securityGroupId": c.group.id, "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"})
	c.key = w.make(typKey, "key", in{"keyName": "dev", "publicKey": publicKey(w.T)})
	c.role = w.make(typRole, "node", in{"name": "node", "assumeRolePolicy": trust})
	c.policy = w.make(typPolicy, "node", in{"name": "describe", "role": c.role.id, "policy": policy})
	c.attachment = w.make(typAttachment, "node", in{"role": c.role.id, "policyArn": "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"})
	c.profile = w.make(typProfile, "node", in{"name": "node", "role": c.role.id})
	c.node = w.make(typInstance, "k8s-master", c.machine(in{"tags": in{"Name": "k8s-master"}, "userData": "#!/bin/sh\n",
		"rootBlockDevice": in{"volumeSize": 20, "encrypted": true}}))
	c.eip = w.make(typEIP, "master", in{"domain": "vpc"})
	c.link = w.make(typEIPLink, "master", in{"allocationId": c.eip.id, "instanceId": c.node.id})
	return c
}

// machine returns the inputs of an instance in the cluster.
func (c cluster) machine(change in) in {
	inputs := in{"ami": newestImage(), "instanceType": "t3.large", "subnetId": c.subnet.id, "keyName": c.key.id,
		"vpcSecurityGroupIds": []any{c.group.id}, "iamInstanceProfile": c.profile.id}
	maps.Copy(inputs, change)
	maps.DeleteFunc(inputs, func(_ string, v any) bool { return v == nil })
	return inputs
}

func TestUnknownTypesAndPropertiesAreRejected(t *testing.T) {
	w := newWorld(t)
	assert.Nil(t, w.cloud.kind("aws:s3/bucket:Bucket"))
	assert.Nil(t, w.cloud.kind("aws:ec2/natGateway:NatGateway"))
	_, failures := w.check(typVPC, "net", in{"cidrBlock": "10.0.0.0/16", "cidrBlok": "x"})
	assert.Equal(t, []plugin.Failure{{Property: "cidrBlok", Reason: `the rehearsal's model of aws:ec2/vpc:Vpc does not support the property "cidrBlok"`}}, failures)
	_, failures = w.check(typInstance, "i", in{"ami": "ami-12345678", "instanceType": "t3.large", "subnetId": "subnet-0", "rootBlockDevice": in{"size": 1}})
	assert.Equal(t, []plugin.Failure{{Property: "rootBlockDevice.size", Reason: `the rehearsal's model of aws:ec2/instance:Instance does not support the property "rootBlockDevice.size"`}}, failures)
}

func TestCheckRefuses(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rule := func(change in) in {
		inputs := in{"securityGroupId": "sg-0", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "10.0.0.0/16"}
		maps.Copy(inputs, change)
		maps.DeleteFunc(inputs, func(_ string, v any) bool { return v == nil })
		return inputs
	}
	machine := func(change in) in {
		inputs := in{"ami": "ami-12345678", "instanceType": "t3.large", "subnetId": "subnet-0"}
		maps.Copy(inputs, change)
		return inputs
	}
	parameter := func(name, value string) in { return in{"name": name, "type": "String", "value": value} }
	tags := in{}
	for i := range 50 {
		tags[fmt.Sprint("k", i)] = "v"
	}
	for name, c := range map[string]struct {
		typ              string
		inputs           in
		property, reason string
	}{
		"missing":            {typVPC, in{}, "cidrBlock", `Missing required argument. The argument "cidrBlock" is required, but no definition was found.`},
		"wrong type":         {typVPC, in{"cidrBlock": 10}, "cidrBlock", "expected a string, got number"},
		"no CIDR":            {typVPC, in{"cidrBlock": "10.0.0.0"}, "cidrBlock", `"10.0.0.0" is not a valid IPv4 CIDR block`},
		"not canonical":      {typVPC, in{"cidrBlock": "10.0.1.0/16"}, "cidrBlock", `"10.0.1.0/16" is not a valid IPv4 CIDR block; did you mean "10.0.0.0/16"?`},
		"too large":          {typVPC, in{"cidrBlock": "10.0.0.0/8"}, "cidrBlock", `expected "10.0.0.0/8" to contain a network value with between 16 and 28 significant bits, got: 8`},
		"too small":          {typSubnet, in{"vpcId": "vpc-0", "cidrBlock": "10.0.0.0/29"}, "cidrBlock", `expected "10.0.0.0/29" to contain a network value with between 16 and 28 significant bits, got: 29`},
		"tenancy":            {typVPC, in{"cidrBlock": "10.0.0.0/16", "instanceTenancy": "host"}, "instanceTenancy", `expected one of ["default" "dedicated"], got "host"`},
		"tags":               {typVPC, in{"cidrBlock": "10.0.0.0/16", "tags": tags}, "tags", "a resource can have 50 tags, the provider's default tags included; got 51"},
		"reserved tag":       {typVPC, in{"cidrBlock": "10.0.0.0/16", "tags": in{"aws:x": ""}}, "tags", `tag keys that begin with "aws:" are reserved: "aws:x"`},
		"long tag":           {typVPC, in{"cidrBlock": "10.0.0.0/16", "tags": in{"x": strings.Repeat("v", 257)}}, "tags", `tag values have up to 256 characters; that of "x" has 257`},
		"tag type":           {typVPC, in{"cidrBlock": "10.0.0.0/16", "tags": in{"x": 1}}, `tags["x"]`, "expected a string, got number"},
		"port":               {typIngress, rule(in{"toPort": 65536}), "toPort", "expected a number in the range (-1 - 65535), got 65536"},
		"ports reversed":     {typIngress, rule(in{"fromPort": 443}), "fromPort", "Invalid value '443-22' for portRange: the first port is greater than the last"},
		"no ports":           {typIngress, rule(in{"toPort": nil}), "toPort", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."},
		"ports of all":       {typEgress, rule(in{"ipProtocol": "-1", "toPort": nil}), "fromPort", "a rule for all protocols has no ports"},
		"protocol":           {typIngress, rule(in{"ipProtocol": "http"}), "ipProtocol", `"http" is not a protocol: tcp, udp, icmp, icmpv6, a number from 0 to 255, or -1 for all`},
		"rule CIDR":          {typIngress, rule(in{"cidrIpv4": "1.2.3.4/24"}), "cidrIpv4", `"1.2.3.4/24" is not a valid IPv4 CIDR block; did you mean "1.2.3.0/24"?`},
		"two peers":          {typIngress, rule(in{"referencedSecurityGroupId": "sg-0"}), "cidrIpv4", `exactly one of ["cidrIpv4" "cidrIpv6" "prefixListId" "referencedSecurityGroupId"] must be set, got ["cidrIpv4" "referencedSecurityGroupId"]`},
		"no peer":            {typIngress, rule(in{"cidrIpv4": nil}), "cidrIpv4", `exactly one of ["cidrIpv4" "cidrIpv6" "prefixListId" "referencedSecurityGroupId"] must be set, got []`},
		"description":        {typIngress, rule(in{"description": "naïve"}), "description", `"naïve" is not a text of up to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*`},
		"group name":         {typGroup, in{"vpcId": "vpc-0", "name": "sg-x"}, "name", `"sg-x" begins with "sg-", which AWS reserves for ids`},
		"key":                {typKey, in{"publicKey": "ssh-rsa nonsense"}, "publicKey", "api error InvalidKey.Format: Key is not in valid OpenSSH public key format"},
		"key type":           {typKey, in{"publicKey": authorized(t, &ecKey.PublicKey)}, "publicKey", "api error InvalidKey.Format: Key is not in valid OpenSSH public key format: EC2 takes RSA and ED25519 keys, not ecdsa-sha2-nistp256"},
		"role name":          {typRole, in{"name": strings.Repeat("r", 65), "assumeRolePolicy": trust}, "name", `"` + strings.Repeat("r", 65) + `" is not a name of 1 to 64 letters, digits and _+=,.@-`},
		"made-up role name":  {typRole, in{"assumeRolePolicy": "{}"}, "assumeRolePolicy", "MalformedPolicyDocument: The policy must have at least one statement."},
		"policy JSON":        {typPolicy, in{"role": "r", "policy": "{"}, "policy", "contains an invalid JSON policy: unexpected end of JSON input"},
		"policy effect":      {typPolicy, in{"role": "r", "policy": `{"Statement":{"Action":"*","Resource":"*"}}`}, "policy", "MalformedPolicyDocument: Syntax errors in policy: Effect must be Allow or Deny."},
		"policy action":      {typPolicy, in{"role": "r", "policy": `{"Statement":[{"Effect":"Allow","Resource":"*"}]}`}, "policy", "MalformedPolicyDocument: Policy statement must contain actions."},
		"policy resource":    {typPolicy, in{"role": "r", "policy": `{"Statement":[{"Effect":"Allow","Action":"*"}]}`}, "policy", "MalformedPolicyDocument: Policy statement must contain resources."},
		"policy principal":   {typPolicy, in{"role": "r", "policy": `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}]}`}, "policy", "MalformedPolicyDocument: Policy document should not specify a principal."},
		"trust resource":     {typRole, in{"assumeRolePolicy": policy}, "assumeRolePolicy", "MalformedPolicyDocument: Has prohibited field Resource"},
		"trust principal":    {typRole, in{"assumeRolePolicy": `{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}`}, "assumeRolePolicy", "MalformedPolicyDocument: AssumeRole policy must contain principals"},
		"policy ARN":         {typAttachment, in{"role": "r", "policyArn": "AmazonSSMManagedInstanceCore"}, "policyArn", `"AmazonSSMManagedInstanceCore" is not the ARN of a policy`},
		"instance type":      {typInstance, machine(in{"instanceType": "large"}), "instanceType", `"large" is not an instance type such as "t3.large"`},
		"volume size":        {typInstance, machine(in{"rootBlockDevice": in{"volumeSize": 0}}), "rootBlockDevice.volumeSize", "expected a number in the range (1 - 16384), got 0"},
		"hop limit":          {typInstance, machine(in{"metadataOptions": in{"httpPutResponseHopLimit": 65}}), "metadataOptions.httpPutResponseHopLimit", "expected a number in the range (1 - 64), got 65"},
		"tokens":             {typInstance, machine(in{"metadataOptions": in{"httpTokens": "always"}}), "metadataOptions.httpTokens", `expected one of ["optional" "required"], got "always"`},
		"user data":          {typInstance, machine(in{"userData": "a", "userDataBase64": "b"}), "userData", `"userData": conflicts with userDataBase64`},
		"user data size":     {typInstance, machine(in{"userData": strings.Repeat("x", 16385)}), "userData", "expected a length in the range (0 - 16384), got 16385"},
		"list element":       {typInstance, machine(in{"vpcSecurityGroupIds": []any{1}}), "vpcSecurityGroupIds[0]", "expected a string, got number"},
		"parameter path":     {typParameter, parameter("a/b", "x"), "name", `Parameter name must be a fully qualified name: "a/b" has a path and does not begin with a slash`},
		"parameter levels":   {typParameter, parameter(strings.Repeat("/a", 16), "x"), "name", `Parameter name has more than 15 levels: "` + strings.Repeat("/a", 16) + `"`},
		"parameter reserved": {typParameter, parameter("/AWS/x", "x"), "name", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive): "/AWS/x"`},
		"parameter chars":    {typParameter, parameter("/a b", "x"), "name", `Parameter name: only a mix of letters, numbers and the following 4 symbols .-_/ is allowed: "/a b"`},
		"parameter empty":    {typParameter, parameter("/a", ""), "value", "a parameter's value has at least 1 character"},
		"parameter none":     {typParameter, in{"name": "/a", "type": "String"}, "value", `exactly one of ["value" "insecureValue"] must be set, got []`},
		"parameter insecure": {typParameter, in{"name": "/a", "type": "SecureString", "insecureValue": "x"}, "insecureValue", "invalid configuration, cannot set type = SecureString and insecureValue"},
		"domain":             {typCertificate, in{"domainName": "example.com.", "validationMethod": "DNS"}, "domainName", `"example.com." is not a domain name without a dot at its end`},
		"record":             {typRecord, in{"zoneId": setup.HostedZone, "name": "a.example.com", "type": "A", "records": []any{"1.2.3.4"}}, "ttl", "records have a ttl, and aliases have none"},
		"record zone":        {typRecord, in{"zoneId": "example.com", "name": "a", "type": "A", "records": []any{"1.2.3.4"}, "ttl": 60}, "zoneId", `"example.com" is not the id of a hosted zone`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, failures := w.check(c.typ, "x", c.inputs)
			require.Len(t, failures, 1)
			assert.Equal(t, plugin.Failure{Property: c.property, Reason: c.reason}, failures[0])
		})
	}
}

func TestCheckAcceptsUnknownValues(t *testing.T) {
	w := newWorld(t)
	unknown := resource.MakeComputed(resource.NewStringProperty(""))
	k := w.cloud.kind(typIngress)
	_, failures := k.Check(context.Background(), &plugin.Request{Name: "r", Inputs: resource.PropertyMap{
		"securityGroupId": unknown, "ipProtocol": unknown, "fromPort": unknown, "cidrIpv4": unknown, "tags": unknown}})
	assert.Empty(t, failures)
	_, failures = w.cloud.kind(typPolicy).Check(context.Background(), &plugin.Request{Name: "r", Inputs: resource.PropertyMap{"role": unknown, "policy": unknown}})
	assert.Empty(t, failures)
}

func TestAutoname(t *testing.T) {
	w := newWorld(t)
	for typ, c := range map[string]struct {
		key    string
		inputs in
	}{
		typGroup:   {"name", in{"vpcId": "vpc-0"}},
		typRole:    {"name", in{"assumeRolePolicy": trust}},
		typProfile: {"name", in{}},
		typKey:     {"keyName", in{"publicKey": publicKey(t)}},
	} {
		checked, failures := w.check(typ, "node", c.inputs)
		require.Empty(t, failures)
		key := resource.PropertyKey(c.key)
		assert.Regexp(t, `^node-[0-9a-f]{7}$`, checked[key].StringValue(), typ)
		again, _ := w.cloud.kind(typ).Check(context.Background(), &plugin.Request{Name: "node", OldInputs: checked,
			Inputs: resource.NewPropertyMapFromMap(c.inputs)})
		assert.Equal(t, checked[key], again[key], "the name stays")
	}
	checked, _ := w.check(typVPC, "node", in{"cidrBlock": "10.0.0.0/16"})
	assert.NotContains(t, checked, resource.PropertyKey("name"))
}

func TestDefaultsAndIDs(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	for _, m := range c.order() {
		prefix, named := map[string]string{typVPC: "vpc", typGateway: "igw", typSubnet: "subnet", typTable: "rtb", typAssociation: "rtbassoc",
			typGroup: "sg", typIngress: "sgr", typEgress: "sgr", typInstance: "i", typEIP: "eipalloc", typEIPLink: "eipassoc"}[m.typ]
		if named {
			assert.Regexp(t, "^"+prefix+"-0[0-9a-f]{16}$", m.id)
		}
	}
	assert.Equal(t, "r-"+c.table.id+"1080289494", c.route.id, "the hash that the provider makes of 0.0.0.0/0")
	assert.Equal(t, []string{"dev", "node", "node:describe", "node"}, []string{c.key.id, c.role.id, c.policy.id, c.profile.id})
	assert.Regexp(t, `^node-[0-9]{26}$`, c.attachment.id)
	assert.Equal(t, "arn:aws:iam::123456789012:role/node", c.role.out("arn"))
	assert.Equal(t, "arn:aws:ec2:eu-central-1:123456789012:vpc/"+c.vpc.id, c.vpc.out("arn"))
	assert.Equal(t, in{"Name": "dev", "Project": "eco2"}, c.vpc.out("tagsAll"))
	assert.Equal(t, true, c.vpc.out("enableDnsSupport"))
	assert.Equal(t, "euc1-az1", c.subnet.out("availabilityZoneId"))
	assert.Equal(t, []any{}, c.group.out("egress"), "a group created without egress rules has none")
	want := in{
		"instanceState": "running", "privateIp": "10.0.0.4", "privateDns": "ip-10-0-0-4.eu-central-1.compute.internal",
		"publicIp": "203.0.113.1", "publicDns": "ec2-203-0-113-1.eu-central-1.compute.amazonaws.com",
		"availabilityZone": "eu-central-1a", "associatePublicIpAddress": true,
		"metadataOptions": in{"httpEndpoint": "enabled", "httpProtocolIpv6": "disabled", "httpPutResponseHopLimit": 2.0, "httpTokens": "required", "instanceMetadataTags": "disabled"},
	}
	for key, v := range want {
		assert.Equal(t, v, c.node.out(key), key)
	}
	assert.Regexp(t, "^[0-9a-f]{40}$", c.node.out("userData"))
	root := c.node.out("rootBlockDevice").(map[string]any)
	assert.Regexp(t, `^vol-0[0-9a-f]{16}$`, root["volumeId"])
	delete(root, "volumeId")
	assert.Equal(t, in{"deleteOnTermination": true, "deviceName": "/dev/sda1", "encrypted": true, "iops": 3000.0, "kmsKeyId": "",
		"throughput": 125.0, "volumeSize": 20.0, "volumeType": "gp3"}, root)
	assert.Regexp(t, `^eni-0[0-9a-f]{16}$`, c.node.out("primaryNetworkInterfaceId"))
	assert.NotContains(t, fmt.Sprint(c.node.state), "#!/bin/sh", "the state has no user data in the clear")
	for _, m := range c.order()[:15] { // the elastic address changed the node's outputs
		assert.Equal(t, m.state, w.read(m), "a read answers what the create did: %s", m.typ)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	key := w.make(typKey, "rsa", in{"publicKey": authorized(t, &rsaKey.PublicKey)})
	assert.Equal(t, "rsa", key.out("keyType"))
	assert.Regexp(t, `^([0-9a-f]{2}:){15}[0-9a-f]{2}$`, key.out("fingerprint"))
}

func TestCreateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		typ     string
		inputs  func(c cluster) in
		message string // $vpc, $table and $new stand for IDs
	}{
		"VPC of subnet":   {typSubnet, func(cluster) in { return in{"vpcId": "vpc-0dead", "cidrBlock": "10.0.16.0/20"} }, "creating EC2 Subnet (x): operation error EC2: CreateSubnet, api error InvalidVpcID.NotFound: The vpc ID 'vpc-0dead' does not exist"},
		"subnet range":    {typSubnet, func(c cluster) in { return in{"vpcId": c.vpc.id, "cidrBlock": "10.1.0.0/20"} }, "creating EC2 Subnet (x): operation error EC2: CreateSubnet, api error InvalidSubnet.Range: The CIDR '10.1.0.0/20' is invalid."},
		"subnet conflict": {typSubnet, func(c cluster) in { return in{"vpcId": c.vpc.id, "cidrBlock": "10.0.8.0/24"} }, "creating EC2 Subnet (x): operation error EC2: CreateSubnet, api error InvalidSubnet.Conflict: The CIDR '10.0.8.0/24' conflicts with another subnet"},
		"zone": {typSubnet, func(c cluster) in {
			return in{"vpcId": c.vpc.id, "cidrBlock": "10.0.16.0/20", "availabilityZone": "eu-west-1a"}
		}, "creating EC2 Subnet (x): operation error EC2: CreateSubnet, api error InvalidParameterValue: Value (eu-west-1a) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: eu-central-1a, eu-central-1b, eu-central-1c."},
		"second gateway": {typGateway, func(c cluster) in { return in{"vpcId": c.vpc.id} }, "attaching EC2 Internet Gateway ($new) to EC2 VPC ($vpc): operation error EC2: AttachInternetGateway, api error Resource.AlreadyAssociated: Network $vpc already has an internet gateway attached"},
		"gateway of route": {typRoute, func(c cluster) in {
			return in{"routeTableId": c.table.id, "destinationCidrBlock": "192.0.2.0/24", "gatewayId": "igw-0dead"}
		}, "creating Route (x): operation error EC2: CreateRoute, api error InvalidGatewayID.NotFound: The gateway ID 'igw-0dead' does not exist"},
		"second route": {typRoute, func(c cluster) in {
			return in{"routeTableId": c.table.id, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": c.gateway.id}
		}, "creating Route (x): operation error EC2: CreateRoute, api error RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists."},
		"route table": {typAssociation, func(c cluster) in { return in{"routeTableId": "rtb-0dead", "subnetId": c.subnet.id} }, "creating EC2 Route Table Association (x): operation error EC2: AssociateRouteTable, api error InvalidRouteTableID.NotFound: The routeTable ID 'rtb-0dead' does not exist"},
		"associated":  {typAssociation, func(c cluster) in { return in{"routeTableId": c.table.id, "subnetId": c.subnet.id} }, "creating EC2 Route Table Association (x): operation error EC2: AssociateRouteTable, api error Resource.AlreadyAssociated: the specified association for route table $table conflicts with an existing association"},
		"group name":  {typGroup, func(c cluster) in { return in{"vpcId": c.vpc.id, "name": "cluster"} }, "creating Security Group (x): operation error EC2: CreateSecurityGroup, api error InvalidGroup.Duplicate: The security group 'cluster' already exists for VPC '$vpc'"},
		"group of rule": {typEgress, func(cluster) in {
			return in{"securityGroupId": "sg-0dead", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"}
		}, "creating VPC Security Group Egress Rule (x): operation error EC2: AuthorizeSecurityGroupEgress, api error InvalidGroup.NotFound: The security group 'sg-0dead' does not exist"},
		"rule twice": {typIngress, func(c cluster) in {
			return in{"securityGroupId": c.group.id, "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "198.51.100.7/32", "description": "other"}
		}, `creating VPC Security Group Ingress Rule (x): operation error EC2: AuthorizeSecurityGroupIngress, api error InvalidPermission.Duplicate: the specified rule "peer: 198.51.100.7/32, TCP, from port: 22, to port: 22, ALLOW" already exists`},
		"key twice":       {typKey, func(cluster) in { return in{"keyName": "dev", "publicKey": publicKey(t)} }, "importing EC2 Key Pair (x): operation error EC2: ImportKeyPair, api error InvalidKeyPair.Duplicate: The keypair already exists"},
		"role twice":      {typRole, func(cluster) in { return in{"name": "node", "assumeRolePolicy": trust} }, "creating IAM Role (x): operation error IAM: CreateRole, api error EntityAlreadyExists: Role with name node already exists."},
		"profile twice":   {typProfile, func(cluster) in { return in{"name": "node"} }, "creating IAM Instance Profile (x): operation error IAM: CreateInstanceProfile, api error EntityAlreadyExists: Instance Profile node already exists."},
		"role of profile": {typProfile, func(cluster) in { return in{"role": "none"} }, "creating IAM Instance Profile (x): operation error IAM: AddRoleToInstanceProfile, api error NoSuchEntity: The role with name none cannot be found."},
		"role of policy":  {typPolicy, func(cluster) in { return in{"role": "none", "policy": policy} }, "creating IAM Role Policy (x): operation error IAM: PutRolePolicy, api error NoSuchEntity: The role with name none cannot be found."},
		"policy size": {typPolicy, func(cluster) in {
			return in{"role": "node", "policy": strings.Replace(policy, `"*"`, `"`+strings.Repeat("x", 10240)+`"`, 1)}
		}, "creating IAM Role Policy (x): operation error IAM: PutRolePolicy, api error LimitExceeded: Maximum policy size of 10240 bytes exceeded for role node"},
		"own policy": {typAttachment, func(cluster) in { return in{"role": "node", "policyArn": "arn:aws:iam::123456789012:policy/x"} }, "creating IAM Role Policy Attachment (x): operation error IAM: AttachRolePolicy, api error NoSuchEntity: Policy arn:aws:iam::123456789012:policy/x does not exist or is not attachable."},
		"policy's path": {typAttachment, func(cluster) in {
			return in{"role": "node", "policyArn": "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicyV2"}
		}, "creating IAM Role Policy Attachment (x): operation error IAM: AttachRolePolicy, api error NoSuchEntity: Policy arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicyV2 does not exist or is not attachable."},
		"tag of a role": {typRole, func(cluster) in { return in{"assumeRolePolicy": trust, "tags": in{"Owner": "a & b"}} },
			`creating IAM Role (x): operation error IAM: CreateRole, api error ValidationError: 1 validation error detected: Value at 'tags.1.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`},
		"tag of a parameter": {typParameter, func(cluster) in {
			return in{"name": "/x", "type": "String", "value": "x", "tags": in{"Owner, or so": "a"}}
		}, `creating SSM Parameter (x): operation error SSM: PutParameter, api error ValidationError: 1 validation error detected: Value at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`},
		"type": {typInstance, func(c cluster) in { return c.machine(in{"instanceType": "t3.9xlarge"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidParameterValue: Invalid value 't3.9xlarge' for InstanceType. (The rehearsal supports the types in rehearsal/cloud/provider/instancetypes.go.)"},
		"hosted zone": {typRecord, func(cluster) in {
			return in{"zoneId": "Z0123456789ABCDEFGHIJ", "name": "a.example.com", "type": "A", "ttl": 60, "records": []any{"192.0.2.1"}}
		}, "reading Route 53 Hosted Zone (Z0123456789ABCDEFGHIJ): operation error Route 53: GetHostedZone, api error NoSuchHostedZone: No hosted zone found with ID: Z0123456789ABCDEFGHIJ"},
		"AMI":              {typInstance, func(c cluster) in { return c.machine(in{"ami": "ami-00000000000000000"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidAMIID.NotFound: The image id '[ami-00000000000000000]' does not exist"},
		"AMI's shape":      {typInstance, func(c cluster) in { return c.machine(in{"ami": "ubuntu"}) }, `creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidAMIID.Malformed: Invalid id: "ubuntu" (expecting "ami-...")`},
		"subnet":           {typInstance, func(c cluster) in { return c.machine(in{"subnetId": "subnet-0dead"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidSubnetID.NotFound: The subnet ID 'subnet-0dead' does not exist"},
		"key":              {typInstance, func(c cluster) in { return c.machine(in{"keyName": "none"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidKeyPair.NotFound: The key pair 'none' does not exist"},
		"group":            {typInstance, func(c cluster) in { return c.machine(in{"vpcSecurityGroupIds": []any{"sg-0dead"}}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidGroup.NotFound: The security group 'sg-0dead' does not exist"},
		"profile":          {typInstance, func(c cluster) in { return c.machine(in{"iamInstanceProfile": "none"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidParameterValue: Value (none) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"},
		"architecture":     {typInstance, func(c cluster) in { return c.machine(in{"instanceType": "t4g.large"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidParameterValue: The architecture 'arm64' of the specified instance type does not match the architecture 'x86_64' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again."},
		"volume":           {typInstance, func(c cluster) in { return c.machine(in{"rootBlockDevice": in{"volumeSize": 4}}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidBlockDeviceMapping: Volume of size 4GB is smaller than snapshot 'snap-" + strings.TrimPrefix(newestImage(), "ami-") + "', expect size >= 8GB"},
		"address":          {typInstance, func(c cluster) in { return c.machine(in{"privateIp": "10.0.0.4"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidIPAddress.InUse: Address 10.0.0.4 is in use."},
		"address range":    {typInstance, func(c cluster) in { return c.machine(in{"privateIp": "10.0.0.3"}) }, "creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidParameterValue: Address 10.0.0.3 does not fall within the subnet's address range"},
		"elastic address":  {typEIPLink, func(c cluster) in { return in{"allocationId": "eipalloc-0dead", "instanceId": c.node.id} }, "creating EC2 EIP Association (x): operation error EC2: AssociateAddress, api error InvalidAllocationID.NotFound: The allocation ID 'eipalloc-0dead' does not exist"},
		"elastic instance": {typEIPLink, func(c cluster) in { return in{"allocationId": c.eip.id, "instanceId": "i-0dead"} }, "creating EC2 EIP Association (x): operation error EC2: AssociateAddress, api error InvalidInstanceID.NotFound: The instance ID 'i-0dead' does not exist"},
		"large value": {typParameter, func(cluster) in {
			return in{"name": "/x", "type": "SecureString", "value": strings.Repeat("s", 4097), "tier": "Standard"}
		}, "creating SSM Parameter (x): operation error SSM: PutParameter, api error ValidationException: Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"},
		"record's value": {typRecord, func(cluster) in {
			return in{"zoneId": setup.HostedZone, "name": "a.example.com", "type": "A", "ttl": 60, "records": []any{"here"}}
		}, "creating Route53 Record (x): operation error Route 53: ChangeResourceRecordSets, api error InvalidChangeBatch: [Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address) encountered with 'here'']"},
		"certificate": {typCertValidated, func(cluster) in { return in{"certificateArn": "arn:none"} }, "creating ACM Certificate Validation (x): operation error ACM: DescribeCertificate, api error ResourceNotFoundException: Could not find certificate arn:none."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cl := w.cluster()
			w.make(typCertificate, "domain", in{"domainName": "dev.example.com", "validationMethod": "DNS"}) // hosted zones exist only once there is a certificate
			before, err := w.cloud.account.Inventory()
			require.NoError(t, err)
			_, err = w.try(c.typ, "x", c.inputs(cl))
			require.Error(t, err)
			got := regexp.MustCompile(`igw-0[0-9a-f]{16}\) to`).ReplaceAllString(err.Error(), "$$new) to")
			assert.Equal(t, strings.NewReplacer("$vpc", cl.vpc.id, "$table", cl.table.id).Replace(c.message), got)
			after, err := w.cloud.account.Inventory()
			require.NoError(t, err)
			assert.Equal(t, before, after, "a rejected create leaves nothing behind")
		})
	}
}

func TestGroupsAndSubnetsMustBeInOneVPC(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	other := w.make(typVPC, "other", in{"cidrBlock": "10.1.0.0/16"})
	group := w.make(typGroup, "other", in{"vpcId": other.id, "name": "cluster"}) // the name is free in another VPC
	_, err := w.try(typInstance, "x", c.machine(in{"vpcSecurityGroupIds": []any{group.id}}))
	assert.EqualError(t, err, fmt.Sprintf("creating EC2 Instance (x): operation error EC2: RunInstances, api error InvalidParameter: Security group %s and subnet %s belong to different networks.", group.id, c.subnet.id))
	sub := w.make(typSubnet, "other", in{"vpcId": other.id, "cidrBlock": "10.1.0.0/24"})
	assert.Equal(t, "eu-central-1a", sub.out("availabilityZone"))
	node := w.make(typInstance, "y", c.machine(in{"subnetId": sub.id, "vpcSecurityGroupIds": []any{group.id}, "associatePublicIpAddress": false}))
	assert.Empty(t, node.out("publicIp"))
	elastic := w.make(typEIP, "e", in{})
	_, err = w.try(typEIPLink, "x", in{"allocationId": elastic.id, "instanceId": node.id})
	assert.EqualError(t, err, fmt.Sprintf("creating EC2 EIP Association (x): operation error EC2: AssociateAddress, api error Gateway.NotAttached: Network %s is not attached to any internet gateway", other.id))
	_, err = w.try(typRoute, "x", in{"routeTableId": w.make(typTable, "t", in{"vpcId": other.id}).id, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": c.gateway.id})
	assert.ErrorContains(t, err, "belong to different networks")
}

// extras creates a resource of each of some types that the cluster does not have.
func (w *world) extras(c cluster) map[string]made {
	cert := w.make(typCertificate, "c", in{"domainName": "example.com", "validationMethod": "DNS"})
	return map[string]made{
		typParameter:   w.make(typParameter, "p", in{"name": "/eco2/dev/vpc-id", "type": "String", "value": c.vpc.id, "tier": "Advanced"}),
		typCertificate: cert,
		typRecord:      w.make(typRecord, "r", in{"zoneId": setup.HostedZone, "name": "a.example.com.", "type": "A", "ttl": 60, "records": []any{"192.0.2.1", "192.0.2.2"}}),
	}
}

func TestReplaceOrUpdate(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	of := w.extras(c)
	for _, m := range c.order() {
		of[m.typ] = m
	}
	of[typIngress] = c.ssh
	const updates, replaced, replacedFirst, nothing = "update", "replace", "delete, then replace", "same"
	for _, s := range []struct {
		typ    string
		change in
		want   string
		paths  []string
	}{
		{typVPC, in{"cidrBlock": "10.2.0.0/16"}, replaced, []string{"cidrBlock"}},
		{typVPC, in{"enableDnsSupport": false}, updates, []string{"enableDnsSupport"}},
		{typVPC, in{"enableDnsHostnames": nil}, nothing, nil},
		{typVPC, in{"tags": in{"Name": "x"}}, updates, []string{"tags.Name", "tagsAll.Name"}},
		{typGateway, in{"tags": in{"Name": "x"}}, updates, []string{"tags", "tagsAll.Name"}},
		{typSubnet, in{"cidrBlock": "10.0.16.0/20"}, replaced, []string{"cidrBlock"}},
		{typSubnet, in{"availabilityZone": "eu-central-1b"}, replaced, []string{"availabilityZone"}},
		{typSubnet, in{"vpcId": "vpc-0"}, replaced, []string{"vpcId"}},
		{typSubnet, in{"mapPublicIpOnLaunch": false}, updates, []string{"mapPublicIpOnLaunch"}},
		{typTable, in{"vpcId": "vpc-0"}, replaced, []string{"vpcId"}},
		{typRoute, in{"gatewayId": "igw-0"}, updates, []string{"gatewayId"}},
		{typRoute, in{"destinationCidrBlock": "10.9.0.0/16"}, replaced, []string{"destinationCidrBlock"}},
		{typAssociation, in{"routeTableId": "rtb-0"}, updates, []string{"routeTableId"}},
		{typAssociation, in{"subnetId": "subnet-0"}, replaced, []string{"subnetId"}},
		{typGroup, in{"name": "other"}, replaced, []string{"name"}},
		{typGroup, in{"description": "other"}, replacedFirst, []string{"description"}},
		{typGroup, in{"vpcId": "vpc-0"}, replacedFirst, []string{"vpcId"}},
		{typGroup, in{"revokeRulesOnDelete": true}, updates, []string{"revokeRulesOnDelete"}},
		{typIngress, in{"cidrIpv4": "198.51.100.8/32"}, updates, []string{"cidrIpv4"}},
		{typIngress, in{"toPort": 23}, updates, []string{"toPort"}},
		{typIngress, in{"description": "x"}, updates, []string{"description"}},
		{typIngress, in{"securityGroupId": "sg-0"}, replaced, []string{"securityGroupId"}},
		{typKey, in{"publicKey": publicKey(t)}, replacedFirst, []string{"publicKey"}},
		{typKey, in{"keyName": "x"}, replaced, []string{"keyName"}},
		{typRole, in{"name": "x"}, replaced, []string{"name"}},
		{typRole, in{"path": "/x/"}, replacedFirst, []string{"path"}},
		{typRole, in{"assumeRolePolicy": strings.Replace(trust, "Allow", "Deny", 1)}, updates, []string{"assumeRolePolicy"}},
		{typRole, in{"assumeRolePolicy": strings.ReplaceAll(trust, ",", ",\n ")}, nothing, nil},
		{typPolicy, in{"policy": strings.Replace(policy, "Allow", "Deny", 1)}, updates, []string{"policy"}},
		{typPolicy, in{"role": "x"}, replacedFirst, []string{"role"}},
		{typAttachment, in{"policyArn": "arn:aws:iam::aws:policy/x"}, replaced, []string{"policyArn"}},
		{typProfile, in{"role": "x"}, updates, []string{"role"}},
		{typProfile, in{"name": "x"}, replaced, []string{"name"}},
		{typInstance, in{"ami": "ami-00000000000000000"}, replaced, []string{"ami"}},
		{typInstance, in{"subnetId": "subnet-0"}, replaced, []string{"subnetId"}},
		{typInstance, in{"keyName": "x"}, replaced, []string{"keyName"}},
		{typInstance, in{"availabilityZone": "eu-central-1b"}, replaced, []string{"availabilityZone"}},
		{typInstance, in{"availabilityZone": "eu-central-1a"}, nothing, nil},
		{typInstance, in{"privateIp": "10.0.0.9"}, replaced, []string{"privateIp"}},
		{typInstance, in{"instanceType": "t3.xlarge"}, updates, []string{"instanceType"}},
		{typInstance, in{"instanceType": "m7i.xlarge"}, updates, []string{"instanceType"}},
		{typInstance, in{"instanceType": "m7g.xlarge"}, replaced, []string{"instanceType"}}, // another architecture
		{typInstance, in{"userData": "#!/bin/bash\n"}, updates, []string{"userData"}},
		{typInstance, in{"userData": "#!/bin/bash\n", "userDataReplaceOnChange": true}, replaced, []string{"userData", "userDataReplaceOnChange"}},
		{typInstance, in{"iamInstanceProfile": "x"}, updates, []string{"iamInstanceProfile"}},
		{typInstance, in{"vpcSecurityGroupIds": []any{"sg-0"}}, updates, []string{"vpcSecurityGroupIds[0]"}},
		{typInstance, in{"metadataOptions": in{"httpTokens": "optional"}}, updates, []string{"metadataOptions.httpTokens"}},
		{typInstance, in{"rootBlockDevice": in{"volumeSize": 40, "encrypted": true}}, updates, []string{"rootBlockDevice.volumeSize"}},
		{typInstance, in{"rootBlockDevice": in{"volumeSize": 20, "encrypted": false}}, replaced, []string{"rootBlockDevice.encrypted"}},
		{typInstance, in{"rootBlockDevice": nil}, nothing, nil},
		{typEIP, in{"publicIpv4Pool": "mine"}, replaced, []string{"publicIpv4Pool"}},
		{typEIPLink, in{"instanceId": "i-0"}, replaced, []string{"instanceId"}},
		{typParameter, in{"name": "/x"}, replaced, []string{"name"}},
		{typParameter, in{"value": "x"}, updates, []string{"value"}},
		{typParameter, in{"type": "StringList"}, updates, []string{"type"}},
		{typParameter, in{"tier": "Standard"}, replaced, []string{"tier"}},
		{typParameter, in{"dataType": "aws:ec2:image"}, replaced, []string{"dataType"}},
		{typCertificate, in{"domainName": "example.org"}, replaced, []string{"domainName"}},
		{typCertificate, in{"subjectAlternativeNames": []any{"*.example.com"}}, replaced, []string{"subjectAlternativeNames"}},
		{typRecord, in{"ttl": 61}, updates, []string{"ttl"}},
		{typRecord, in{"records": []any{"192.0.2.2", "192.0.2.1"}}, nothing, nil},
		{typRecord, in{"type": "AAAA"}, replaced, []string{"type"}},
		{typRecord, in{"name": "b.example.com"}, replaced, []string{"name"}},
		{typRecord, in{"zoneId": aws.ForeignZone}, replaced, []string{"zoneId"}},
	} {
		t.Run(fmt.Sprint(s.typ, s.change), func(t *testing.T) {
			m := of[s.typ]
			diff, err := w.cloud.kind(s.typ).Diff(context.Background(), w.changeRequest(m, s.change))
			require.NoError(t, err)
			got := nothing
			for _, change := range diff.Changed {
				if change.Replaces {
					got = replaced
				} else if got == nothing {
					got = updates
				}
			}
			if got == replaced && diff.DeleteBeforeReplace {
				got = replacedFirst
			}
			assert.Equal(t, s.want, got)
			assert.Equal(t, s.paths, slices.Sorted(maps.Keys(diff.Changed)))
		})
	}
}

func TestNoChangeIsNoDiff(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	all := slices.AppendSeq(c.order(), maps.Values(w.extras(c)))
	for _, m := range append(all, w.make(typRole, "auto", in{"assumeRolePolicy": trust})) {
		r := w.changeRequest(m, in{})
		r.State = w.read(m)
		diff, err := w.cloud.kind(m.typ).Diff(context.Background(), r)
		require.NoError(t, err)
		assert.Empty(t, diff.Changed, m.typ)
	}
	w.configure(in{"region": "eu-central-1", "defaultTags": in{"tags": in{"Project": "eco3"}}})
	diff, err := w.cloud.kind(typVPC).Diff(context.Background(), w.changeRequest(c.vpc, in{}))
	require.NoError(t, err)
	assert.Equal(t, map[string]plugin.Change{"tagsAll.Project": {}}, diff.Changed, "the default tags apply to every resource")
}

func TestPreviews(t *testing.T) {
	w := newWorld(t)
	checked, _ := w.check(typVPC, "net", in{"cidrBlock": "10.0.0.0/16"})
	id, out, err := w.cloud.kind(typVPC).Create(context.Background(), &plugin.Request{Name: "net", Inputs: checked, Preview: true})
	require.NoError(t, err)
	assert.Empty(t, id)
	assert.Equal(t, "10.0.0.0/16", out["cidrBlock"].StringValue())
	assert.True(t, out["arn"].IsComputed())
	assert.True(t, out["enableDnsHostnames"].IsComputed())
	assert.Equal(t, in{"Project": "eco2"}, out["tagsAll"].Mappable())
	inv, err := w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Empty(t, inv)

	c := w.cluster()
	worker := w.make(typInstance, "worker", c.machine(nil))
	preview := func(m made, change in) resource.PropertyMap {
		r := w.changeRequest(m, change)
		r.Preview = true
		out, err := w.cloud.kind(m.typ).Update(context.Background(), r)
		require.NoError(t, err)
		return out
	}
	out = preview(worker, in{"tags": in{"a": "b"}})
	assert.Equal(t, worker.out("publicIp"), out["publicIp"].Mappable())
	assert.Equal(t, in{"a": "b", "Project": "eco2"}, out["tagsAll"].Mappable())
	out = preview(worker, in{"instanceType": "t3.xlarge"})
	assert.True(t, out["publicIp"].IsComputed(), "stopping the instance releases the address")
	assert.Equal(t, worker.state["privateIp"], out["privateIp"])
	out = preview(c.node, in{"instanceType": "t3.xlarge"})
	assert.False(t, out["publicIp"].IsComputed(), "an elastic address stays")
	p := w.make(typParameter, "p", in{"name": "/p", "type": "String", "value": "1"})
	assert.True(t, preview(p, in{"value": "2"})["version"].IsComputed())
	assert.Equal(t, 1.0, preview(p, in{"tags": in{"a": "b"}})["version"].Mappable())
}

func TestUpdates(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	worker := w.make(typInstance, "worker", c.machine(in{"rootBlockDevice": in{"volumeSize": 20}}))
	assert.Equal(t, "203.0.113.1", worker.out("publicIp"), "the lowest free address, as the master has an elastic one")
	bigger, err := w.update(worker, in{"instanceType": "t3.xlarge", "rootBlockDevice": in{"volumeSize": 40}})
	require.NoError(t, err)
	assert.Equal(t, "203.0.113.3", bigger.out("publicIp"))
	assert.Equal(t, worker.out("privateIp"), bigger.out("privateIp"))
	root := bigger.out("rootBlockDevice").(map[string]any)
	assert.Equal(t, 40.0, root["volumeSize"])
	assert.Equal(t, worker.out("rootBlockDevice").(map[string]any)["volumeId"], root["volumeId"], "the other fields of an object stay")
	_, err = w.update(bigger, in{"rootBlockDevice": in{"volumeSize": 30}})
	assert.EqualError(t, err, fmt.Sprintf("updating EC2 Instance (%s) volume (%s): operation error EC2: ModifyVolume, api error InvalidParameterValue: New size cannot be smaller than existing size", worker.id, root["volumeId"]))
	assert.Equal(t, bigger.state, w.read(bigger), "a refused update changes nothing")

	p := w.make(typParameter, "p", in{"name": "/p", "type": "String", "value": "1"})
	p, err = w.update(p, in{"value": "2"})
	require.NoError(t, err)
	assert.Equal(t, []any{2.0, "2"}, []any{p.out("version"), p.out("value")})
	p, err = w.update(p, in{"tags": in{"a": "b"}})
	require.NoError(t, err)
	assert.Equal(t, 2.0, p.out("version"))
	_, err = w.try(typParameter, "q", in{"name": "/p", "type": "String", "value": "1"})
	assert.EqualError(t, err, "creating SSM Parameter (q): operation error SSM: PutParameter, api error ParameterAlreadyExists: The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	q := w.make(typParameter, "q", in{"name": "/p", "type": "String", "value": "1", "overwrite": true})
	assert.Equal(t, 3.0, q.out("version"))

	gone := made{typ: typVPC, name: "gone", id: "vpc-0dead", inputs: c.vpc.inputs, state: c.vpc.state}
	_, err = w.update(gone, in{"enableDnsSupport": false})
	assert.EqualError(t, err, "updating EC2 VPC (vpc-0dead): operation error EC2: ModifyVpcAttribute, api error InvalidVpcID.NotFound: The vpc ID 'vpc-0dead' does not exist")
	assert.NoError(t, w.delete(gone), "deleting an object that does not exist succeeds")
	id, _, err := w.cloud.kind(typVPC).Read(context.Background(), &plugin.Request{ID: "vpc-0dead"})
	require.NoError(t, err)
	assert.Empty(t, id)
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	node := w.read(c.node)
	assert.Equal(t, "203.0.113.2", node["publicIp"].StringValue(), "the elastic address")
	assert.Equal(t, c.eip.out("publicIp"), c.link.out("publicIp"))
	assert.Equal(t, "10.0.0.4", c.link.out("privateIpAddress"))
	a, b := w.make(typInstance, "a", c.machine(nil)), w.make(typInstance, "b", c.machine(nil))
	assert.Equal(t, []any{"10.0.0.5", "203.0.113.1", "10.0.0.6", "203.0.113.3"},
		[]any{a.out("privateIp"), a.out("publicIp"), b.out("privateIp"), b.out("publicIp")})
	for ip, id := range map[string]string{"10.0.0.6": b.id, "203.0.113.3": b.id, "203.0.113.2": c.node.id} {
		found, ok, err := w.cloud.account.InstanceByAddress(netip.MustParseAddr(ip))
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, id, found.ID, ip)
	}
	require.NoError(t, w.delete(a))
	_, ok, err := w.cloud.account.InstanceByAddress(netip.MustParseAddr("10.0.0.5"))
	require.NoError(t, err)
	assert.False(t, ok)
	again := w.make(typInstance, "again", c.machine(nil))
	assert.Equal(t, []any{"10.0.0.5", "203.0.113.1"}, []any{again.out("privateIp"), again.out("publicIp")}, "the lowest free addresses")
	require.NoError(t, w.delete(c.link))
	assert.Equal(t, "203.0.113.4", w.read(c.node)["publicIp"].StringValue(), "the instance has an address of its own again")
	assert.Empty(t, w.read(c.eip)["associationId"].StringValue())

	small := w.make(typSubnet, "small", in{"vpcId": c.vpc.id, "cidrBlock": "10.0.16.0/28"})
	for i := range 11 {
		m := w.make(typInstance, fmt.Sprint("s", i), c.machine(in{"subnetId": small.id}))
		assert.Equal(t, fmt.Sprintf("10.0.16.%d", 4+i), m.out("privateIp"))
	}
	_, err = w.try(typInstance, "s", c.machine(in{"subnetId": small.id}))
	assert.EqualError(t, err, fmt.Sprintf("creating EC2 Instance (s): operation error EC2: RunInstances, api error InsufficientFreeAddressesInSubnet: There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", small.id))
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	worker := w.make(typInstance, "worker", c.machine(nil))
	old := w.make(typGroup, "old", in{"vpcId": c.vpc.id, "ingress": []any{in{"protocol": "tcp", "fromPort": 80, "toPort": 90, "cidrBlocks": []any{"192.0.2.0/24"}}}})
	legacy := w.make(typInstance, "legacy", c.machine(in{"vpcSecurityGroupIds": []any{old.id}}))
	for _, s := range []struct {
		instance string
		port     int
		source   string
		want     bool
	}{
		{c.node.id, 22, "198.51.100.7", true},
		{c.node.id, 22, "::ffff:198.51.100.7", true},
		{c.node.id, 22, "198.51.100.8", false},
		{c.node.id, 23, "198.51.100.7", false},
		{c.node.id, 6443, worker.out("privateIp").(string), true},
		{c.node.id, 6443, worker.out("publicIp").(string), false}, // a rule that references a group applies to private addresses only
		{c.node.id, 6443, legacy.out("privateIp").(string), false},
		{legacy.id, 85, "192.0.2.9", true},
		{legacy.id, 91, "192.0.2.9", false},
		{legacy.id, 85, "192.0.3.9", false},
	} {
		got, err := w.cloud.account.AllowsInbound(s.instance, s.port, netip.MustParseAddr(s.source))
		require.NoError(t, err)
		assert.Equal(t, s.want, got, "%+v", s)
	}
	out, err := w.cloud.account.AllowsOutbound(c.node.id, 443, netip.MustParseAddr("192.0.2.1"))
	require.NoError(t, err)
	assert.True(t, out)
	out, err = w.cloud.account.AllowsOutbound(legacy.id, 443, netip.MustParseAddr("192.0.2.1"))
	require.NoError(t, err)
	assert.False(t, out, "a group without egress rules allows no outbound traffic")
	_, err = w.cloud.account.AllowsInbound("i-0dead", 22, netip.MustParseAddr("192.0.2.1"))
	assert.EqualError(t, err, "api error InvalidInstanceID.NotFound: The instance ID 'i-0dead' does not exist")
	rules, err := w.cloud.account.Rules(c.group.id)
	require.NoError(t, err)
	assert.Len(t, rules, 3)

	for i := range rulesPerDirection - 2 {
		w.make(typIngress, "r", in{"securityGroupId": c.group.id, "ipProtocol": "udp", "fromPort": i, "toPort": i, "cidrIpv4": "0.0.0.0/0"})
	}
	_, err = w.try(typIngress, "r", in{"securityGroupId": c.group.id, "ipProtocol": "udp", "fromPort": 99, "toPort": 99, "cidrIpv4": "0.0.0.0/0"})
	assert.ErrorContains(t, err, "api error RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.")
}

func TestDeletesOfObjectsInUseFail(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	require.NoError(t, w.cloud.account.PutLoadBalancer(aws.LoadBalancer{ARN: "arn:lb", Name: "k8s-argocd-1a2b3c", VPCID: c.vpc.id,
		SubnetIDs: []string{c.subnet.id}, SecurityGroupIDs: []string{c.group.id}}))
	other := w.make(typGroup, "other", in{"vpcId": c.vpc.id, "name": "other"})
	rule := w.make(typIngress, "circle", in{"securityGroupId": other.id, "ipProtocol": "-1", "referencedSecurityGroupId": c.group.id})
	for _, s := range []struct {
		m       made
		message string
	}{
		{c.vpc, fmt.Sprintf("deleting EC2 VPC (%s): operation error EC2: DeleteVpc, api error DependencyViolation: The vpc '%s' has dependencies and cannot be deleted. (in use by: subnet %s (public-a), internet gateway %s (igw), %s, route table %s (public) and 1 more)",
			c.vpc.id, c.vpc.id, c.subnet.id, c.gateway.id, groups(c.group, other), c.table.id)},
		{c.subnet, fmt.Sprintf("deleting EC2 Subnet (%s): operation error EC2: DeleteSubnet, api error DependencyViolation: The subnet '%s' has dependencies and cannot be deleted. (in use by: instance %s (k8s-master), load balancer k8s-argocd-1a2b3c)", c.subnet.id, c.subnet.id, c.node.id)},
		{c.gateway, fmt.Sprintf("detaching EC2 Internet Gateway (%s) from EC2 VPC (%s): operation error EC2: DetachInternetGateway, api error DependencyViolation: Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway. (in use by: instance %s (203.0.113.2), load balancer k8s-argocd-1a2b3c)", c.gateway.id, c.vpc.id, c.vpc.id, c.node.id)},
		{c.group, fmt.Sprintf("deleting Security Group (%s): operation error EC2: DeleteSecurityGroup, api error DependencyViolation: resource %s has a dependent object (in use by: instance %s (k8s-master), load balancer k8s-argocd-1a2b3c, ingress rule of security group %s (other))", c.group.id, c.group.id, c.node.id, other.id)},
		{c.table, fmt.Sprintf("deleting EC2 Route Table (%s): operation error EC2: DeleteRouteTable, api error DependencyViolation: The routeTable '%s' has dependencies and cannot be deleted. (in use by: subnet %s)", c.table.id, c.table.id, c.subnet.id)},
		{c.role, "deleting IAM Role (node): operation error IAM: DeleteRole, api error DeleteConflict: Cannot delete entity, must remove roles from instance profile first. (in use by: instance profile node)"},
	} {
		assert.EqualError(t, w.delete(s.m), s.message)
	}
	assert.Contains(t, w.said, "still destroying; in use by instance "+c.node.id+" (k8s-master), load balancer k8s-argocd-1a2b3c")
	assert.ErrorContains(t, w.delete(c.eip), "deleting EC2 EIP ("+c.eip.id+"): operation error EC2: ReleaseAddress, api error InvalidIPAddress.InUse: Address ")
	require.NoError(t, w.delete(c.profile), "a profile can be deleted while it is in use")
	assert.EqualError(t, w.delete(c.role), "deleting IAM Role (node): operation error IAM: DeleteRole, api error DeleteConflict: Cannot delete entity, must detach all policies first. (in use by: attachment of arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy)")
	require.NoError(t, w.delete(c.attachment))
	assert.EqualError(t, w.delete(c.role), "deleting IAM Role (node): operation error IAM: DeleteRole, api error DeleteConflict: Cannot delete entity, must delete policies first. (in use by: policy describe)")
	require.NoError(t, w.delete(c.key), "a key pair can be deleted while it is in use")

	keep := w.make(typInstance, "keep", c.machine(in{"keyName": nil, "iamInstanceProfile": nil, "disableApiTermination": true, "rootBlockDevice": in{"deleteOnTermination": false}}))
	assert.ErrorContains(t, w.delete(keep), "api error OperationNotPermitted: The instance '"+keep.id+"' may not be terminated.")
	keep, err := w.update(keep, in{"disableApiTermination": false})
	require.NoError(t, err)
	require.NoError(t, w.delete(keep))
	inv, err := w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Equal(t, 2, inv.Counts()["volume"], "a volume with deleteOnTermination false outlives its instance")
	require.NoError(t, w.delete(rule))
}

// groups describes two security groups in the order of their IDs.
func groups(a, b made) string {
	if a.id > b.id {
		a, b = b, a
	}
	return fmt.Sprintf("security group %s (%s), security group %s (%s)", a.id, a.name, b.id, b.name)
}

func TestDestroyInOrderLeavesNothing(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	all := c.order()
	all = slices.AppendSeq(all, maps.Values(w.extras(c)))
	inv, err := w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Equal(t, 1, inv.Counts()["volume"])
	assert.Contains(t, inv.String(), "2 securityGroupIngressRule")
	slices.Reverse(all)
	for _, m := range all {
		require.NoError(t, w.delete(m), m.typ)
	}
	inv, err = w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Empty(t, inv)
	require.NoError(t, w.cloud.account.View("", func(tx aws.Tx) error {
		kinds, err := tx.Kinds()
		assert.Empty(t, kinds, "nothing is left in the indexes of addresses")
		return err
	}))
}

// A destroy of a whole stack sends no deletes for objects that are deleted with their parents: the rules of the group,
// the association of the instance's address, and the associations of the subnet and the route table.
func TestChildrenAreDeletedWithTheirParents(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	for _, m := range []made{c.node, c.eip, c.gateway, c.subnet, c.table, c.group, c.profile, c.attachment, c.policy, c.role, c.key, c.vpc} {
		require.NoError(t, w.delete(m), m.typ)
	}
	inv, err := w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Empty(t, inv)
}

func TestRevokeRulesOnDelete(t *testing.T) {
	w := newWorld(t)
	net := w.make(typVPC, "v", in{"cidrBlock": "10.0.0.0/16"})
	a := w.make(typGroup, "a", in{"vpcId": net.id, "revokeRulesOnDelete": true})
	b := w.make(typGroup, "b", in{"vpcId": net.id})
	w.make(typIngress, "ab", in{"securityGroupId": a.id, "ipProtocol": "-1", "referencedSecurityGroupId": b.id})
	w.make(typIngress, "ba", in{"securityGroupId": b.id, "ipProtocol": "-1", "referencedSecurityGroupId": a.id})
	assert.ErrorContains(t, w.delete(b), "has a dependent object (in use by: ingress rule of security group "+a.id)
	assert.NoError(t, w.delete(a))
	assert.NoError(t, w.delete(b))
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	cert := w.make(typCertificate, "c", in{"domainName": "example.com", "subjectAlternativeNames": []any{"*.example.com"}, "validationMethod": "DNS"})
	assert.Equal(t, "PENDING_VALIDATION", cert.out("status"))
	options := cert.out("domainValidationOptions").([]any)
	require.Len(t, options, 2)
	option := options[0].(map[string]any)
	assert.Equal(t, option["resourceRecordName"], options[1].(map[string]any)["resourceRecordName"], "a wildcard is validated by its domain's record")
	name := strings.TrimSuffix(option["resourceRecordName"].(string), ".")
	_, err := w.try(typCertValidated, "v", in{"certificateArn": cert.id, "validationRecordFqdns": []any{"x.example.com"}})
	assert.EqualError(t, err, "creating ACM Certificate Validation (v): missing *.example.com DNS validation record: "+name)
	_, err = w.try(typCertValidated, "v", in{"certificateArn": cert.id, "validationRecordFqdns": []any{name}})
	assert.EqualError(t, err, "creating ACM Certificate Validation (v): waiting for ACM Certificate ("+cert.id+") to be issued: timeout while waiting for state to become 'ISSUED' (last state: 'PENDING_VALIDATION') (still missing: record "+name+")")
	record := in{"zoneId": setup.HostedZone, "name": option["resourceRecordName"], "type": "CNAME", "ttl": 60, "records": []any{option["resourceRecordValue"]}}
	made := w.make(typRecord, "r", record)
	assert.Equal(t, []any{setup.HostedZone + "_" + name + "_CNAME", name}, []any{made.id, made.out("fqdn")})
	_, err = w.try(typRecord, "again", record)
	assert.EqualError(t, err, fmt.Sprintf("creating Route53 Record (again): operation error Route 53: ChangeResourceRecordSets, api error InvalidChangeBatch: [Tried to create resource record set [name='%s.', type='CNAME'] but it already exists]", name))
	w.make(typCertValidated, "v", in{"certificateArn": cert.id, "validationRecordFqdns": []any{name}})
	assert.Equal(t, "ISSUED", w.read(cert)["status"].StringValue())
}

// A record in a zone of another domain is created under a name that nobody looks up, and validates no certificate.
func TestRecordInTheWrongZoneDoesNotValidateACertificate(t *testing.T) {
	w := newWorld(t)
	cert := w.make(typCertificate, "c", in{"domainName": "dev.example.com", "validationMethod": "DNS"})
	option := cert.out("domainValidationOptions").([]any)[0].(map[string]any)
	name := strings.TrimSuffix(option["resourceRecordName"].(string), ".")
	record := w.make(typRecord, "r", in{"zoneId": aws.ForeignZone, "name": option["resourceRecordName"], "type": "CNAME", "ttl": 60, "records": []any{option["resourceRecordValue"]}})
	assert.Equal(t, name+".foreign.example.com", record.out("fqdn"))
	_, err := w.try(typCertValidated, "v", in{"certificateArn": cert.id, "validationRecordFqdns": []any{record.out("fqdn")}})
	assert.EqualError(t, err, "creating ACM Certificate Validation (v): missing dev.example.com DNS validation record: "+name)
	apex := w.make(typRecord, "apex", in{"zoneId": setup.HostedZone, "name": "example.com", "type": "A", "ttl": 60, "records": []any{"192.0.2.1"}})
	assert.Equal(t, "example.com", apex.out("fqdn"))
}

// Stacks with different registered domains can be in one account.
func TestSeveralDomainsInOneAccount(t *testing.T) {
	w := newWorld(t)
	for _, domain := range []string{"b.example.net", "dev.example.com", "a.example.org", "prod.example.com"} {
		cert := w.make(typCertificate, domain, in{"domainName": domain, "validationMethod": "DNS"})
		option := cert.out("domainValidationOptions").([]any)[0].(map[string]any)
		record := w.make(typRecord, domain, in{"zoneId": setup.HostedZone, "name": option["resourceRecordName"], "type": "CNAME", "ttl": 60, "records": []any{option["resourceRecordValue"]}})
		w.make(typCertValidated, domain, in{"certificateArn": cert.id, "validationRecordFqdns": []any{record.out("fqdn")}})
	}
}

func TestQuotasOfANewAccount(t *testing.T) {
	w := newWorld(t)
	for i := range vpcsPerRegion {
		w.make(typVPC, "v", in{"cidrBlock": fmt.Sprintf("10.%d.0.0/16", i)})
		w.make(typGateway, "g", in{})
		w.make(typEIP, "e", in{})
	}
	for typ, want := range map[string]string{
		typVPC:     "creating EC2 VPC (x): operation error EC2: CreateVpc, api error VpcLimitExceeded: The maximum number of VPCs has been reached.",
		typGateway: "creating EC2 Internet Gateway (x): operation error EC2: CreateInternetGateway, api error InternetGatewayLimitExceeded: The maximum number of internet gateways has been reached.",
		typEIP:     "creating EC2 EIP (x): operation error EC2: AllocateAddress, api error AddressLimitExceeded: The maximum number of addresses has been reached.",
	} {
		inputs := in{}
		if typ == typVPC {
			inputs["cidrBlock"] = "10.99.0.0/16"
		}
		_, err := w.try(typ, "x", inputs)
		assert.EqualError(t, err, want)
	}
	w.configure(in{"region": "ap-northeast-2"})
	w.make(typVPC, "elsewhere", in{"cidrBlock": "10.0.0.0/16"}) // quotas are per region
}

// A program can set timeouts for the parts of the network, but not for a certificate.
func TestTimeouts(t *testing.T) {
	w := newWorld(t)
	for typ, want := range map[string][2]time.Duration{
		typVPC: {20 * time.Minute, 5 * time.Minute}, typSubnet: {20 * time.Minute, 5 * time.Minute},
		typGateway: {20 * time.Minute, 5 * time.Minute}, typGroup: {15 * time.Minute, 5 * time.Minute},
		typCertificate: {20 * time.Minute, 20 * time.Minute},
	} {
		k := w.cloud.kind(typ).(*kind)
		got := [2]time.Duration{k.timeoutOf(&plugin.Request{}), k.timeoutOf(&plugin.Request{Timeout: 5 * time.Minute})}
		assert.Equal(t, want, got, "%s: the provider's default, and with the program's timeout", typ)
	}
}

func TestInstanceTypes(t *testing.T) {
	for name, want := range map[string]instanceType{
		"t2.small": {1, []string{"i386", "x86_64"}}, "t3.nano": {2, []string{"x86_64"}}, "t3.xlarge": {4, []string{"x86_64"}},
		"t3a.2xlarge": {8, []string{"x86_64"}}, "t4g.medium": {2, []string{"arm64"}}, "a1.metal": {16, []string{"arm64"}},
		"c7a.medium": {1, []string{"x86_64"}}, "m5.metal": {96, []string{"x86_64"}}, "m7i-flex.large": {2, []string{"x86_64"}},
		"m8g.metal-24xl": {96, []string{"arm64"}}, "r8i.96xlarge": {384, []string{"x86_64"}}, "c4.8xlarge": {36, []string{"x86_64"}},
	} {
		assert.Equal(t, want, instanceTypes[name], name)
	}
	for name, typ := range instanceTypes {
		assert.Positive(t, typ.vCPUs, name)
	}
	for _, none := range []string{"t3.huge", "t3", "m9i.large", "m5.3xlarge", ""} {
		_, err := knownType(none)
		assert.ErrorContains(t, err, "InvalidParameterValue: Invalid value '"+none+"' for InstanceType.")
	}
}

func TestGetAmi(t *testing.T) {
	w := newWorld(t)
	query := func(change in) (resource.PropertyMap, error) {
		args := in{"owners": []any{aws.Canonical}, "mostRecent": true, "filters": []any{
			in{"name": "name", "values": []any{"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"}},
			in{"name": "virtualization-type", "values": []any{"hvm"}}}}
		maps.Copy(args, change)
		out, failures, err := w.cloud.getAmi(context.Background(), resource.NewPropertyMapFromMap(args))
		require.Empty(t, failures)
		return out, err
	}
	out, err := query(nil)
	require.NoError(t, err)
	assert.Equal(t, newestImage(), out["id"].StringValue())
	assert.Equal(t, "x86_64", out["architecture"].StringValue())
	_, err = query(in{"mostRecent": false})
	assert.EqualError(t, err, "Your query returned more than one result. Please try a more specific search criteria, or set `most_recent` attribute to true.")
	_, err = query(in{"owners": []any{aws.AccountID}})
	assert.EqualError(t, err, "Your query returned no results. Please change your search criteria and try again.")
	_, err = query(in{"filters": []any{in{"name": "colour", "values": []any{"red"}}}})
	assert.EqualError(t, err, "reading EC2 AMIs: operation error EC2: DescribeImages, api error InvalidParameterValue: The filter 'colour' is invalid")
	require.NoError(t, w.cloud.account.ReleaseImage(aws.UbuntuImage("20260101", "amd64", "x86_64")))
	out, err = query(nil)
	require.NoError(t, err)
	assert.Equal(t, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101", out["name"].StringValue())
	assert.Equal(t, aws.UbuntuImage("20260101", "amd64", "x86_64").In("eu-central-1"), out["id"].StringValue())
	inv, err := w.cloud.account.Inventory()
	require.NoError(t, err)
	assert.Empty(t, inv, "images are not part of the inventory")
}

func TestConfigure(t *testing.T) {
	c, err := newCloud(t.TempDir())
	require.NoError(t, err)
	for _, s := range []struct {
		inputs in
		want   string
	}{
		{in{}, "missing required configuration aws:region"},
		{in{"region": "Frankfurt"}, "invalid AWS Region: Frankfurt"},
		{in{"region": "eu-central-1", "allowedAccountIds": `["1"]`}, "AWS account ID not allowed: 123456789012"},
		{in{"region": "eu-central-1", "forbiddenAccountIds": []any{aws.AccountID}}, "AWS account ID not allowed: 123456789012"},
	} {
		assert.EqualError(t, c.configure(context.Background(), resource.NewPropertyMapFromMap(s.inputs)), "configuring the AWS provider: "+s.want)
	}
	diff, err := diffConfig(&plugin.Request{OldInputs: resource.NewPropertyMapFromMap(in{"region": "a", "profile": "x"}), Inputs: resource.NewPropertyMapFromMap(in{"region": "b", "profile": "y"})})
	require.NoError(t, err)
	assert.Equal(t, map[string]plugin.Change{"region": {Replaces: true}, "profile": {}}, diff.Changed)
	t.Setenv(setup.LatencyEnv, "-1")
	_, err = newCloud(t.TempDir())
	assert.EqualError(t, err, `reading ECO2_REHEARSAL_LATENCY="-1": it must be a number, 0 or more`)
}

func TestNamesOfKeyPairsAreUniquePerRegion(t *testing.T) {
	w := newWorld(t)
	w.make(typKey, "k", in{"keyName": "k", "publicKey": publicKey(t)})
	w.configure(in{"region": "us-east-1"})
	w.make(typKey, "k", in{"keyName": "k", "publicKey": publicKey(t)})
	_, ok, err := w.cloud.account.KeyPair("eu-west-1", "k")
	require.NoError(t, err)
	assert.False(t, ok)
	pair, ok, err := w.cloud.account.KeyPair("us-east-1", "k")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "k", pair.Name)
	assert.Equal(t, []string{"use1", "euc1", "apse2", "apne1"}, []string{aws.ZonePrefix("us-east-1"), aws.ZonePrefix("eu-central-1"), aws.ZonePrefix("ap-southeast-2"), aws.ZonePrefix("ap-northeast-1")})
}

func TestLatencies(t *testing.T) {
	for typ := range specs {
		assert.Positive(t, Latency(typ, Create), typ)
	}
	assert.Equal(t, 60*time.Second, Latency("instance", Restart))
	assert.Zero(t, Latency("aws:s3/bucket:Bucket", Create))

	t.Setenv(setup.LatencyEnv, "0.5")
	synctest.Test(t, func(t *testing.T) { // its clock advances only while everything waits
		w := newWorld(t)
		start := time.Now()
		took := func() time.Duration {
			defer func() { start = time.Now() }()
			return time.Since(start)
		}
		net := w.make(typVPC, "v", in{"cidrBlock": "10.0.0.0/16"})
		assert.Equal(t, 6*time.Second, took())
		w.make(typGroup, "g", in{"vpcId": net.id})
		assert.Equal(t, time.Second, took())
		err := w.cloud.kind(typVPC).Delete(context.Background(), &plugin.Request{Type: typVPC, ID: net.id, Timeout: 20 * time.Second})
		require.ErrorContains(t, err, "DependencyViolation")
		assert.Equal(t, 10*time.Second, took(), "the program's own timeout, not the provider's")
		assert.Len(t, w.said, 1, "an unchanged status is reported once")
	})
}

func TestCancelledCreateReturnsThePartialObject(t *testing.T) {
	t.Setenv(setup.LatencyEnv, "1")
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	checked, _ := w.check(typVPC, "v", in{"cidrBlock": "10.0.0.0/16"})
	_, _, err := w.cloud.kind(typVPC).Create(ctx, &plugin.Request{Name: "v", Inputs: checked})
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	assert.Equal(t, "creating EC2 VPC ("+partial.ID+"): waiting for completion: context deadline exceeded", partial.Reason)
	id, _, err := w.cloud.kind(typVPC).Read(context.Background(), &plugin.Request{ID: partial.ID})
	require.NoError(t, err)
	assert.Equal(t, partial.ID, id)
	_, _, err = w.cloud.kind(typVPC).Create(ctx, &plugin.Request{Name: "v", Inputs: checked})
	assert.EqualError(t, err, "creating EC2 VPC (v): context deadline exceeded", "no operation starts after the cancellation")
}

func TestBlockedDeleteSucceedsOnceTheBlockerIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.cloud.latency = 0.01
	net := w.make(typVPC, "v", in{"cidrBlock": "10.0.0.0/16"})
	require.NoError(t, w.cloud.account.PutLoadBalancer(aws.LoadBalancer{ARN: "arn:lb", Name: "k8s-x", VPCID: net.id}))
	w.cloud.status = func(_ context.Context, _ *plugin.Request, line string) {
		assert.Equal(t, "still destroying; in use by load balancer k8s-x", line)
		assert.NoError(t, w.cloud.account.DeleteLoadBalancer("arn:lb", time.Now()))
	}
	assert.NoError(t, w.delete(net))
}

// A large stack, at latency 0: when the first pool of public addresses is used up, the second one is used.
func TestManyInstances(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	seen := map[any]bool{}
	for i := range 300 {
		m := w.make(typInstance, fmt.Sprint("n", i), c.machine(nil))
		seen[m.out("publicIp")] = true
	}
	assert.Len(t, seen, 300)
	assert.True(t, seen["198.51.100.46"], "the second pool is used after the first")
}

func TestAccountLists(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	a := w.cloud.account
	worker := w.make(typInstance, "worker", c.machine(in{"userDataBase64": "aGVsbG8=", "tags": in{"Name": "k8s-worker"}}))
	nodes, err := a.Instances()
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	slices.SortFunc(nodes, func(a, b aws.Instance) int { return strings.Compare(a.Name(), b.Name()) })
	pair, _, err := a.KeyPair("eu-central-1", "dev")
	require.NoError(t, err)
	assert.Equal(t, aws.Instance{
		ID: c.node.id, Image: newestImage(), Type: "t3.large", State: "running", AvailabilityZone: "eu-central-1a", Region: "eu-central-1",
		VPCID: c.vpc.id, SubnetID: c.subnet.id, SecurityGroupIDs: []string{c.group.id}, KeyName: "dev", Profile: "node",
		PrivateIP: "10.0.0.4", PrivateDNS: "ip-10-0-0-4.eu-central-1.compute.internal",
		PublicIP: "203.0.113.2", PublicDNS: "ec2-203-0-113-2.eu-central-1.compute.amazonaws.com",
		UserData: "#!/bin/sh\n", AuthorizedKey: pair.PublicKey, Tags: map[string]string{"Name": "k8s-master", "Project": "eco2"},
		RootVolume:      aws.RootVolume{ID: c.node.out("rootBlockDevice").(map[string]any)["volumeId"].(string), SizeGiB: 20, Type: "gp3", Encrypted: true},
		MetadataOptions: aws.MetadataOptions{Tokens: "required", HopLimit: 2},
	}, nodes[0])
	assert.Equal(t, []string{worker.id, "hello"}, []string{nodes[1].ID, nodes[1].UserData})

	w.make(typParameter, "p", in{"name": "/p", "type": "SecureString", "value": "secret"})
	parameters, err := a.Parameters()
	require.NoError(t, err)
	assert.Equal(t, []aws.Parameter{{Name: "/p", Type: "SecureString", Value: "secret", Version: 1}}, parameters)
	vpcs, err := a.VPCs()
	require.NoError(t, err)
	assert.Equal(t, []aws.VPC{{ID: c.vpc.id, CIDR: "10.0.0.0/16", Tags: map[string]string{"Name": "dev", "Project": "eco2"}}}, vpcs)
	subnets, err := a.Subnets()
	require.NoError(t, err)
	assert.Equal(t, []aws.Subnet{{ID: c.subnet.id, VPCID: c.vpc.id, CIDR: "10.0.0.0/20", AvailabilityZone: "eu-central-1a", Tags: map[string]string{"Project": "eco2"}}}, subnets)
	groups, err := a.Groups()
	require.NoError(t, err)
	assert.Equal(t, []aws.Group{{ID: c.group.id, Name: "cluster", VPCID: c.vpc.id, Tags: map[string]string{"Project": "eco2"}}}, groups)
	balancer := aws.LoadBalancer{ARN: "arn:lb", Name: "k8s-x", VPCID: c.vpc.id, SubnetIDs: []string{c.subnet.id}, SecurityGroupIDs: []string{c.group.id}}
	require.NoError(t, a.PutLoadBalancer(balancer))
	balancers, err := a.LoadBalancers()
	require.NoError(t, err)
	assert.Equal(t, []aws.LoadBalancer{balancer}, balancers)

	p, err := New(t.TempDir(), nil)
	require.NoError(t, err)
	assert.Equal(t, "aws", p.Name)
	assert.NotNil(t, p.Kinds(typVPC))
	// An interface that holds a nil *kind would not be nil.
	assert.True(t, p.Kinds("aws:s3/bucket:Bucket") == nil)
}
