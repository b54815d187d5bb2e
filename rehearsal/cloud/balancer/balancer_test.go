package balancer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/printed"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/authority"
)

// The VPC of these tests is in the loopback network 127.0.0.0/8, so that its addresses exist without being added as
// root.
const (
	cidr     = "127.77.0.0/16"
	operator = "127.0.0.9"
	domain   = "eco2.example"
	host     = "argocd." + domain
	web      = "https://" + host + ":8443"
	nodePort = 30081
)

type props = map[string]any

// world is an account with a VPC, two instances and a load balancer in front of them.
type world struct {
	*testing.T
	provider                       plugin.Provider
	account                        *aws.Account
	authority                      *authority.Authority
	vpc                            *VPC
	securityGroup, ingress, egress string
	instances                      []string
	balancer                       aws.LoadBalancer
	group                          aws.TargetGroup

	joined int
	held   map[netip.Addr]bool
	log    printed.Text
}

func newWorld(t *testing.T) *world {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	w := &world{T: t, held: map[netip.Addr]bool{}}
	state := t.TempDir()
	var err error
	w.authority, err = authority.Open()
	require.NoError(t, err)
	w.provider, err = provider.New(state, nil)
	require.NoError(t, err)
	require.NoError(t, w.provider.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": "ap-northeast-2"})))
	w.account = aws.Open(state)

	vpc, _ := w.create("aws:ec2/vpc:Vpc", props{"cidrBlock": cidr})
	var subnets []string
	for _, s := range [][2]string{{"127.77.0.0/20", "ap-northeast-2a"}, {"127.77.16.0/20", "ap-northeast-2b"}} {
		subnet, _ := w.create("aws:ec2/subnet:Subnet", props{"vpcId": vpc, "cidrBlock": s[0], "availabilityZone": s[1]})
		subnets = append(subnets, subnet)
	}
	w.securityGroup, _ = w.create("aws:ec2/securityGroup:SecurityGroup", props{"vpcId": vpc, "name": "cluster"})
	w.ingress, _ = w.create("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", props{
		"securityGroupId": w.securityGroup, "ipProtocol": "tcp", "fromPort": 8080, "toPort": 8443, "cidrIpv4": operator + "/32"})
	w.egress, _ = w.create("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", props{
		"securityGroupId": w.securityGroup, "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"})
	for range 2 {
		id, _ := w.create("aws:ec2/instance:Instance", props{"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In("ap-northeast-2"),
			"instanceType": "t3.small", "subnetId": subnets[0], "vpcSecurityGroupIds": []any{w.securityGroup}})
		w.instances = append(w.instances, id)
	}
	w.balancer = aws.LoadBalancer{
		ARN: "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/app/k8s-eco2/0a", Name: "k8s-eco2",
		DNSName: "k8s-eco2.ap-northeast-2.elb.amazonaws.com", VPCID: vpc, SubnetIDs: subnets, SecurityGroupIDs: []string{w.securityGroup},
		Listeners: []aws.Listener{
			{ARN: "arn:80", Port: 8080, Protocol: "HTTP", Default: aws.RedirectTo(8443)},
			{ARN: "arn:443", Port: 8443, Protocol: "HTTPS", Default: aws.RespondNotFound(), Rules: []aws.ListenerRule{
				rule(1, "arn:argocd", aws.HostCondition(host), aws.PathCondition("/*")),
			}},
		},
	}
	w.group = aws.TargetGroup{ARN: "arn:argocd", Name: "argocd", Protocol: "HTTP", Port: nodePort, VPCID: vpc,
		HealthCheck: aws.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/healthz", Codes: "200"}}
	for _, id := range w.instances {
		w.group.Targets = append(w.group.Targets, aws.Target{InstanceID: id, Port: nodePort})
	}
	require.NoError(t, w.account.PutRecord(aws.Record{ZoneID: setup.HostedZone, Name: host, Type: "A",
		Aliases: []aws.Alias{{Name: "dualstack." + w.balancer.DNSName + "."}}}))
	w.vpc = &VPC{
		Account: w.account, ID: vpc, Issue: w.authority.Issue,
		AddAddress:     func(a netip.Addr) error { w.held[a] = true; return nil },
		RemoveAddress:  func(a netip.Addr) error { delete(w.held, a); return nil },
		MembersChanged: func(context.Context) error { w.joined++; return nil },
		Log:            log.New(&w.log, "", 0),
	}
	t.Cleanup(w.vpc.close)
	return w
}

// rule returns a rule that forwards requests that meet the conditions to a target group.
func rule(priority int, group string, conditions ...types.RuleCondition) aws.ListenerRule {
	return aws.ListenerRule{Priority: priority, Conditions: conditions, Actions: aws.ForwardTo(group)}
}

func (w *world) create(typ string, in props) (id string, out resource.PropertyMap) {
	w.Helper()
	id, out, err := w.provider.Kinds(typ).Create(w.Context(), &plugin.Request{Type: typ, Inputs: resource.NewPropertyMapFromMap(in)})
	require.NoError(w, err)
	return id, out
}

func (w *world) delete(typ, id string) {
	w.Helper()
	kind := w.provider.Kinds(typ)
	request := &plugin.Request{Type: typ, ID: id}
	_, state, err := kind.Read(w.Context(), request)
	require.NoError(w, err)
	request.State = state
	require.NoError(w, kind.Delete(w.Context(), request))
}

// request asks ACM for a certificate of the domain and its wildcard.
func (w *world) request() (validation resource.PropertyMap) {
	w.Helper()
	id, out := w.create("aws:acm/certificate:Certificate", props{"domainName": domain, "validationMethod": "DNS",
		"subjectAlternativeNames": []any{"*." + domain}})
	w.balancer.Listeners[1].CertificateARNs = []string{id}
	return out["domainValidationOptions"].ArrayValue()[0].ObjectValue()
}

// validate creates the DNS record that makes ACM issue the certificate.
func (w *world) validate(validation resource.PropertyMap) {
	w.Helper()
	w.create("aws:route53/record:Record", props{"zoneId": setup.HostedZone, "name": validation["resourceRecordName"].StringValue(),
		"type": "CNAME", "ttl": 60, "records": []any{validation["resourceRecordValue"].StringValue()}})
	w.create("aws:acm/certificateValidation:CertificateValidation", props{"certificateArn": w.balancer.Listeners[1].CertificateARNs[0]})
}

// open creates the load balancer in the account, with an issued certificate, and runs it.
func (w *world) open() {
	w.Helper()
	w.validate(w.request())
	w.put()
}

func (w *world) put() {
	w.Helper()
	require.NoError(w, w.account.PutTargetGroup(w.group))
	require.NoError(w, w.account.PutLoadBalancer(w.balancer))
	require.NoError(w, w.vpc.reconcile(w.Context()))
	w.checkAll()
}

func (w *world) checkAll() { w.vpc.running[w.balancer.ARN].checkAll(w.Context()) }

func (w *world) client(from string) *http.Client {
	w.Helper()
	client, err := Client(w.account, w.authority.PEM(), netip.MustParseAddr(from))
	require.NoError(w, err)
	return client
}

// ask sends a request with a client, which follows redirects.
func (w *world) ask(client *http.Client, url string) (status int, body string, err error) {
	w.Helper()
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // the body has been read
	text, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return response.StatusCode, string(text), nil
}

// status returns the status of a request from the operator's address.
func (w *world) status(url string) int {
	w.Helper()
	status, _, err := w.ask(w.client(operator), url)
	require.NoError(w, err)
	return status
}

// serve starts a server at the NodePort of an instance.
func (w *world) serve(machine int, handler http.HandlerFunc) {
	w.Helper()
	list, err := w.account.Instances()
	require.NoError(w, err)
	for _, i := range list {
		if i.ID != w.instances[machine] {
			continue
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", i.PrivateIP, nodePort))
		require.NoError(w, err)
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}}
		server.Start()
		w.Cleanup(server.Close)
	}
}

// seen is the request as a target receives it.
type seen struct {
	Method, Host, URI, From string
	Header                  http.Header
}

func tell(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(seen{r.Method, r.Host, r.RequestURI, r.RemoteAddr, r.Header})
}

func TestLoadBalancerTerminatesTLS(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.open()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web+"/api/v1/x%2Fy?a=b;c", strings.NewReader("body"))
	require.NoError(t, err)
	request.Header.Set("X-Forwarded-For", "192.0.2.1")
	request.Header.Set("X-Forwarded-Proto", "gopher")
	response, err := w.client(operator).Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }() // the test is over
	assert.Equal(t, 2, response.ProtoMajor, "clients use HTTP/2")
	var got seen
	require.NoError(t, json.NewDecoder(response.Body).Decode(&got))
	assert.Equal(t, []string{http.MethodPost, host + ":8443", "/api/v1/x%2Fy?a=b;c"}, []string{got.Method, got.Host, got.URI})
	assert.Equal(t, "192.0.2.1, "+operator, got.Header.Get("X-Forwarded-For"), "the client's address is appended to the header that it sent")
	assert.Equal(t, "https", got.Header.Get("X-Forwarded-Proto"))
	assert.Equal(t, "8443", got.Header.Get("X-Forwarded-Port"))
	assert.Regexp(t, `^127\.77\.(15|31)\.254:`, got.From, "the load balancer connects from one of its own addresses")
	assert.ElementsMatch(t, []string{domain, "*." + domain}, response.TLS.PeerCertificates[0].DNSNames)
}

// A listener accepts the TLS versions of its security policy, also after the policy changes while it is open.
func TestSecurityPolicyLimitsTLSVersions(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.open()
	old := w.client(operator)
	transport := old.Transport.(*http.Transport)
	transport.TLSClientConfig.MinVersion, transport.TLSClientConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	transport.ForceAttemptHTTP2 = false // HTTP/2 needs TLS 1.2
	transport.DisableKeepAlives = true
	status, _, err := w.ask(old, web+"/")
	require.NoError(t, err, "AWS's default policy accepts old clients")
	assert.Equal(t, http.StatusOK, status)

	w.balancer.Listeners[1].SSLPolicy = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
	w.put()
	_, _, err = w.ask(old, web+"/")
	assert.ErrorContains(t, err, "protocol version not supported")
	assert.Equal(t, http.StatusOK, w.status(web+"/"))
}

func TestHTTPIsRedirectedToHTTPS(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.open()
	client := w.client(operator)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Get("http://" + host + ":8080/applications?view=tree")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusMovedPermanently, response.StatusCode)
	assert.Equal(t, web+"/applications?view=tree", response.Header.Get("Location"))
	assert.Equal(t, http.StatusOK, w.status("http://"+host+":8080/applications"), "a client that follows the redirect gets a response")
}

// A server that does not know that TLS is terminated in front of it redirects clients to HTTPS, which they already use.
func TestServerThatRedirectsToHTTPSLoops(t *testing.T) {
	w := newWorld(t)
	w.serve(0, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+r.Host+r.RequestURI, http.StatusTemporaryRedirect)
	})
	w.group.Targets = w.group.Targets[:1]
	w.open()
	_, _, err := w.ask(w.client(operator), web+"/healthz")
	require.ErrorContains(t, err, "stopped after 10 redirects")
}

func TestRulesForwardRequests(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.balancer.Listeners[1].Rules = []aws.ListenerRule{
		rule(9, "arn:empty", aws.HostCondition(host), aws.PathCondition("/api/late")), // rule 2 has precedence
		rule(1, "arn:empty", aws.HostCondition(host), aws.PathCondition("/empty")),
		rule(2, "arn:argocd", aws.HostCondition(host), aws.PathCondition("/api", "/api/*")),
		rule(3, "arn:argocd", aws.HostCondition("*."+domain), aws.PathCondition("/any?hing")),
	}
	require.NoError(t, w.account.PutTargetGroup(aws.TargetGroup{ARN: "arn:empty", Name: "empty", Protocol: "HTTP", Port: nodePort}))
	w.open()
	for _, name := range []string{"other." + domain, "a." + domain} {
		require.NoError(t, w.account.PutRecord(aws.Record{ZoneID: setup.HostedZone, Name: name, Type: "A", Records: []string{w.balancer.DNSName}}))
	}
	assert.Equal(t, http.StatusOK, w.status(web+"/api/v1"))
	assert.Equal(t, http.StatusOK, w.status(web+"/api/late"))
	assert.Equal(t, http.StatusNotFound, w.status(web+"/"), "no rule matches that path")
	assert.Equal(t, http.StatusNotFound, w.status("https://other."+domain+":8443/api/v1"), "no rule matches that host")
	assert.Equal(t, http.StatusServiceUnavailable, w.status(web+"/empty"), "that group has no targets")
	assert.Equal(t, http.StatusOK, w.status("https://a."+domain+":8443/anything"))
}

func TestUnhealthyTargetsGetNoRequests(t *testing.T) {
	w := newWorld(t)
	var sick [2]atomic.Bool
	for i := range sick {
		w.serve(i, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" && sick[i].Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = fmt.Fprint(w, i)
		})
	}
	w.open()
	ask := func() map[string]int {
		answered := map[string]int{}
		for range 6 {
			_, body, err := w.ask(w.client(operator), web+"/who")
			require.NoError(t, err)
			answered[body]++
		}
		return answered
	}
	assert.Equal(t, map[string]int{"0": 3, "1": 3}, ask(), "healthy targets take turns")
	sick[0].Store(true)
	w.checkAll()
	w.checkAll()
	assert.Equal(t, map[string]int{"1": 6}, ask())
	sick[1].Store(true)
	w.checkAll()
	w.checkAll()
	assert.Equal(t, map[string]int{"0": 3, "1": 3}, ask(), "if no target is healthy, all get requests")
	sick[0].Store(false)
	w.checkAll()
	assert.Equal(t, map[string]int{"0": 6}, ask(), "one passed check makes a target healthy")
}

func TestTargetThatRefusesConnectionsIsABadGateway(t *testing.T) {
	w := newWorld(t)
	w.open() // nothing listens at the NodePort
	assert.Equal(t, http.StatusBadGateway, w.status(web+"/healthz"))
	assert.Contains(t, w.log.String(), "connection refused")
}

func TestOnlyIssuedCertificatesTerminateTLS(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	validation := w.request()
	require.NoError(t, w.account.PutLoadBalancer(w.balancer))
	require.EqualError(t, w.vpc.reconcile(t.Context()), "running load balancer k8s-eco2: terminating TLS with "+w.balancer.Listeners[1].CertificateARNs[0]+" for eco2.example: it is PENDING_VALIDATION, not ISSUED")
	_, _, err := w.ask(w.client(operator), web+"/healthz")
	require.ErrorContains(t, err, "connection refused")
	w.validate(validation)
	w.put()
	assert.Equal(t, http.StatusOK, w.status(web+"/healthz"))

	stranger, err := authority.Open()
	require.NoError(t, err)
	assert.Equal(t, w.authority.PEM(), stranger.PEM())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	other, err := authority.Open()
	require.NoError(t, err)
	client, err := Client(w.account, other.PEM(), netip.MustParseAddr(operator))
	require.NoError(t, err)
	_, _, err = w.ask(client, web+"/healthz")
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown, "a client that trusts another authority does not trust it")
}

func TestSecurityGroupsApplyToClientsAndTargets(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.open()
	assert.Equal(t, http.StatusOK, w.status(web+"/healthz"))
	_, _, err := w.ask(w.client("127.0.0.8"), web+"/healthz")
	require.Error(t, err, "only the operator's address is allowed")
	assert.Contains(t, w.log.String(), "load balancer k8s-eco2: closing the connection from 127.0.0.8: its security groups do not allow ingress traffic on port 8443 with 127.0.0.8")

	w.delete("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", w.egress)
	assert.Equal(t, http.StatusGatewayTimeout, w.status(web+"/healthz"), "no egress traffic is allowed")
	w.delete("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", w.ingress)
	_, _, err = w.ask(w.client(operator), web+"/healthz")
	require.Error(t, err)
}

// A listener that the security group opens to an administrator only, beside one that is open to everybody and redirects
// to it.
func TestAListenerForAdministratorsIsClosedToOthers(t *testing.T) {
	w := newWorld(t)
	for i := range w.instances {
		w.serve(i, tell)
	}
	validation := w.request()
	w.balancer.Listeners = append(w.balancer.Listeners, aws.Listener{
		ARN: "arn:web", Port: 9443, Protocol: "HTTPS", Default: aws.RespondNotFound(), CertificateARNs: w.balancer.Listeners[1].CertificateARNs,
		Rules: []aws.ListenerRule{{Priority: 1, Conditions: []types.RuleCondition{aws.HostCondition(host)}, Actions: aws.RedirectTo(8443)}},
	})
	w.create("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", props{
		"securityGroupId": w.securityGroup, "ipProtocol": "tcp", "fromPort": 9443, "toPort": 9443, "cidrIpv4": "0.0.0.0/0"})
	w.validate(validation)
	w.put()

	const open = "https://" + host + ":9443/healthz"
	assert.Equal(t, http.StatusOK, w.status(open))
	stranger := w.client("127.0.0.8")
	_, _, err := w.ask(stranger, open)
	require.ErrorContains(t, err, web, "the redirect leads to a closed port")
	stranger.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, _, err := w.ask(stranger, open)
	require.NoError(t, err)
	assert.Equal(t, http.StatusMovedPermanently, status)
}

func TestLoadBalancerFollowsTheAccount(t *testing.T) {
	w := newWorld(t)
	w.serve(0, tell)
	w.balancer.ActiveAt = time.Now().Add(time.Hour)
	w.validate(w.request())
	require.NoError(t, w.account.PutLoadBalancer(w.balancer))
	require.NoError(t, w.vpc.reconcile(t.Context()))
	assert.Empty(t, w.held, "the load balancer is not active yet")
	assert.Equal(t, 1, w.joined, "but its interfaces exist")
	w.balancer.ActiveAt = time.Now()
	w.put()
	require.NoError(t, w.vpc.reconcile(t.Context()))
	assert.Equal(t, 1, w.joined)
	addresses, ok, err := Resolve(w.account, w.balancer.DNSName)
	require.NoError(t, err)
	require.True(t, ok)
	require.Len(t, addresses, 2, "one in each subnet")
	for _, a := range addresses {
		assert.True(t, w.held[a])
	}
	assert.Equal(t, http.StatusOK, w.status(web+"/healthz"))

	w.balancer.Listeners = w.balancer.Listeners[1:]
	w.put()
	_, err = net.Dial("tcp", net.JoinHostPort(addresses[0].String(), "8080"))
	require.ErrorContains(t, err, "connection refused", "the listener was deleted")
	assert.Equal(t, http.StatusOK, w.status(web+"/healthz"), "the other listener is unchanged")

	require.NoError(t, w.account.DeleteLoadBalancer(w.balancer.ARN, time.Now()))
	require.NoError(t, w.vpc.reconcile(t.Context()))
	assert.Empty(t, w.held)
	assert.Equal(t, 2, w.joined)
	_, err = net.Dial("tcp", net.JoinHostPort(addresses[0].String(), "8443"))
	require.ErrorContains(t, err, "connection refused")
	_, _, err = w.ask(w.client(operator), web+"/healthz")
	require.ErrorContains(t, err, "cannot connect to "+host+", which has 0 addresses")
}

func TestMembersChangedIsRetried(t *testing.T) {
	w := newWorld(t)
	w.validate(w.request())
	require.NoError(t, w.account.PutLoadBalancer(w.balancer))
	told := w.vpc.MembersChanged
	w.vpc.MembersChanged = func(context.Context) error { return errors.New("no room on this host") }
	require.ErrorContains(t, w.vpc.reconcile(t.Context()), "no room on this host")
	w.vpc.MembersChanged = told
	require.NoError(t, w.vpc.reconcile(t.Context()))
	assert.Equal(t, 1, w.joined)
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.account.PutLoadBalancer(w.balancer))
	for _, r := range []aws.Record{
		{Name: "plain." + domain, Type: "A", Records: []string{"192.0.2.7"}},
		{Name: "canonical." + domain, Type: "CNAME", Records: []string{host + "."}},
		{Name: "text." + domain, Type: "TXT", Records: []string{`"heritage=external-dns"`}},
		{Name: "circle." + domain, Type: "CNAME", Records: []string{"circle." + domain}},
	} {
		r.ZoneID = setup.HostedZone
		require.NoError(t, w.account.PutRecord(r))
	}
	both := []netip.Addr{netip.MustParseAddr("127.77.15.254"), netip.MustParseAddr("127.77.31.254")}
	for name, want := range map[string][]netip.Addr{
		"ArgoCD.eco2.example.": both, w.balancer.DNSName: both, "canonical." + domain: both,
		"plain." + domain: {netip.MustParseAddr("192.0.2.7")}, "text." + domain: nil, "circle." + domain: nil,
	} {
		got, ok, err := Resolve(w.account, name)
		require.NoError(t, err)
		assert.True(t, ok, name)
		assert.Equal(t, want, got, name)
	}
	_, ok, err := Resolve(w.account, "nobody."+domain)
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestSuccessCodes(t *testing.T) {
	for codes, want := range map[string][2]bool{
		"": {true, false}, "200": {true, false}, "302": {false, true}, "200,302": {true, true}, "200-399": {true, true}, "nonsense": {false, false},
	} {
		assert.Equal(t, want, [2]bool{codeMatches(codes, 200), codeMatches(codes, 302)}, codes)
	}
}
