package docker

import (
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/balancer"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/authority"
)

// A load balancer is made by a controller, so no driver runs when it appears.
func TestALoadBalancerReachesMachinesByTheRuleForTheGroupItself(t *testing.T) {
	l := newLab(t)
	self := l.self()
	l.ingress("https", props{"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": setup.OperatorAddress + "/32"})
	m := l.machine("a")
	l.says(m, `cat >/usr/local/bin/web <<'EOF'
#!/bin/bash
while read -r line && [[ $line != $'\r' ]]; do :; done
printf 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello'
EOF
chmod +x /usr/local/bin/web
systemd-run --quiet --unit=web socat TCP-LISTEN:30080,fork,reuseaddr EXEC:/usr/local/bin/web`)

	const name = "argocd.eco2.example"
	account := l.driver.account
	certificate := l.create("aws:acm/certificate:Certificate", "certificate", props{"domainName": name, "validationMethod": "DNS"})
	kind, request := l.kind("aws:acm/certificate:Certificate", nil)
	request.ID = certificate
	_, state, err := kind.Read(t.Context(), request)
	require.NoError(t, err)
	validation := state["domainValidationOptions"].ArrayValue()[0].ObjectValue()
	l.create("aws:route53/record:Record", "validation", props{"zoneId": setup.HostedZone, "type": "CNAME", "ttl": 60,
		"name": validation["resourceRecordName"].StringValue(), "records": []any{validation["resourceRecordValue"].StringValue()}})
	l.create("aws:acm/certificateValidation:CertificateValidation", "validation", props{"certificateArn": certificate})
	b := aws.LoadBalancer{
		ARN: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/k8s-lab/0a", Name: "k8s-lab",
		DNSName: "k8s-lab.eu-central-1.elb.amazonaws.com", VPCID: l.vpc, SubnetIDs: []string{l.subnet}, SecurityGroupIDs: []string{l.group},
		Listeners: []aws.Listener{{ARN: "arn:listener", Port: 443, Protocol: "HTTPS", CertificateARNs: []string{certificate},
			Default: aws.ForwardTo("arn:web")}},
	}
	require.NoError(t, account.PutTargetGroup(aws.TargetGroup{ARN: "arn:web", Name: "web", Protocol: "HTTP", Port: 30080, VPCID: l.vpc,
		HealthCheck: aws.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Codes: "200"},
		Targets:     []aws.Target{{InstanceID: m.ID, Port: 30080}}}))
	t.Cleanup(func() { require.NoError(t, account.DeleteTargetGroup("arn:web")) })
	require.NoError(t, account.PutLoadBalancer(b))
	t.Cleanup(func() { require.NoError(t, account.DeleteLoadBalancer(b.ARN, time.Now())) })
	require.NoError(t, account.PutRecord(aws.Record{ZoneID: setup.HostedZone, Name: name, Type: "A", Aliases: []aws.Alias{{Name: b.DNSName}}}))

	issuer, err := authority.Open()
	require.NoError(t, err)
	client, err := balancer.Client(account, issuer.PEM(), netip.MustParseAddr(setup.OperatorAddress))
	require.NoError(t, err)
	ask := func() (status int, body string) {
		response, err := client.Get("https://" + name + "/")
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = response.Body.Close() }() // it is read
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	answers := func(want int) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			status, body := ask()
			assert.Equal(c, want, status, body)
		}, 20*time.Second, 100*time.Millisecond)
	}
	answers(http.StatusOK)
	_, body := ask()
	assert.Equal(t, "hello", body)
	assert.Equal(t, "10.77.15.254", l.says(m, "getent ahostsv4 %s | awk 'NR == 1 {print $1}'", name))
	assert.Contains(t, l.says(m, "nft list set inet security-groups %s", l.group), "10.77.15.254")
	assert.Equal(t, "hello", l.says(m, "curl --silent --insecure --max-time 5 https://%s/", name), "the rule also allows machines to reach the load balancer")

	l.delete(ingressType, self)
	status, _ := ask()
	assert.Equal(t, http.StatusGatewayTimeout, status, "without the rule for itself, the group's load balancer does not reach its machines")
	_, exit := l.in(m, "curl --silent --insecure --max-time 5 https://%s/", name)
	assert.NotZero(t, exit, "nor do machines reach the load balancer: the other rule allows only the operator")
	l.self()
	answers(http.StatusOK)

	require.NoError(t, account.DeleteLoadBalancer(b.ARN, time.Now()))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.NotContains(c, l.says(m, "nft list set inet security-groups %s", l.group), "10.77.15.254", "nobody has that address any more")
	}, 20*time.Second, 100*time.Millisecond)
	_, exit = l.in(m, "ping -c 1 -W 2 10.77.15.254")
	assert.NotZero(t, exit)
	assert.Equal(t, "running", l.says(m, "systemctl is-system-running"))
}
