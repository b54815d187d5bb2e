package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/client/ebs"
	"eco2/rehearsal/cloud/metadata"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/workloads"
)

func TestAMachineIsSetUpAsCloudInitWould(t *testing.T) {
	l := newLab(t)
	m := l.machine("k8s-redis")
	assert.Equal(t, "k8s-redis", l.overSSH(m, "hostname"))
	assert.Equal(t, "root", l.overSSH(m, "sudo -n whoami"))
	assert.Contains(t, l.overSSH(m, "ip -4 address show eth0"), m.PrivateIP+"/16")
	assert.NotContains(t, l.overSSH(m, "ip -4 address"), m.PublicIP, "a machine never sees its public address")
	assert.Contains(t, l.overSSH(m, "echo $SSH_CLIENT"), setup.OperatorAddress)
	assert.Equal(t, "running", l.says(m, "systemctl is-system-running"))
	assert.Empty(t, l.says(m, "swapon --show"))
	assert.Equal(t, m.PrivateIP, l.says(m, "getent ahostsv4 %s | awk 'NR == 1 {print $1}'", m.PrivateDNS))
	output, exit := l.in(m, "curl --silent --show-error --max-time 5 http://93.184.215.14/")
	assert.NotZero(t, exit, "there is no internet")
	assert.NotContains(t, output, "timed out", "the connection is rejected at once")
}

func TestManyMachinesBootAndTerminateConcurrently(t *testing.T) {
	const count = 14
	l := newLab(t)
	began := time.Now()
	ids := make([]string, count)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			var err error
			ids[i], err = l.tryCreate(instanceType, fmt.Sprintf("node-%d", i), l.inputs(fmt.Sprintf("node-%d", i)))
			assert.NoError(t, err)
		})
	}
	group.Wait()
	booted := time.Since(began)
	for i, id := range ids {
		assert.Equal(t, fmt.Sprintf("node-%d", i), l.overSSH(l.instance(id), "hostname"))
	}
	list, err := List(t.Context(), l.driver.stateDir)
	require.NoError(t, err)
	require.Len(t, list, count)
	for _, m := range list {
		assert.Equal(t, "running", m.State)
	}
	began = time.Now()
	for _, id := range ids {
		group.Go(func() { l.delete(instanceType, id) })
	}
	group.Wait()
	t.Logf("%d machines booted in %s and were gone in %s", count, booted.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	list, err = List(t.Context(), l.driver.stateDir)
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestTheSecurityGroupIsEnforced(t *testing.T) {
	l := newLab(t)
	self := l.self()
	a, b := l.machine("a"), l.machine("b")
	files, err := filepath.Glob("testdata/firewall-*.nft")
	require.NoError(t, err)
	require.Len(t, files, 3, "the golden files of TestFirewall")
	for _, file := range files {
		rules, err := os.ReadFile(file)
		require.NoError(t, err)
		l.says(a, "nft --check --file - <<'END'\n%s\nEND", rules)
	}
	for _, port := range []int{5473, 10250} {
		l.says(b, "systemd-run --quiet --unit=tcp-%d nc -lk %d", port, port)
	}
	reach := func(port int) bool {
		_, exit := l.in(a, "nc -z -w 2 %s %d", b.PrivateIP, port)
		return exit == 0
	}
	vxlan := func() bool { // whether a datagram arrives at VXLAN's port
		l.says(b, "rm -f /tmp/datagram; systemd-run --quiet --collect --unit=udp timeout 3 bash -c 'nc -lu 4789 >/tmp/datagram'; "+
			"timeout 3 bash -c 'until ss -lun | grep -q :4789; do sleep 0.1; done'")
		l.says(a, "echo hello | nc -u -w 1 %s 4789", b.PrivateIP)
		output := l.says(b, "systemctl stop udp; cat /tmp/datagram")
		return output == "hello"
	}
	assert.True(t, reach(5473))
	assert.True(t, reach(10250))
	assert.True(t, vxlan())
	l.says(a, "systemd-run --quiet --unit=open bash -c 'exec 3<>/dev/tcp/%s/10250; while sleep 0.2; do echo beat >&3 || exit 1; done'", b.PrivateIP)
	operator, err := net.DialTimeout("tcp", b.PublicIP+":22", 5*time.Second)
	require.NoError(t, err)
	defer func() { _ = operator.Close() }() // the test is over

	l.delete(ingressType, self)
	assert.False(t, reach(5473), "without the rule for itself, the group's machines do not reach each other")
	assert.False(t, reach(10250))
	assert.False(t, vxlan())
	assert.Equal(t, "active", l.says(a, "systemctl is-active open"), "an open connection survives")
	greeting := make([]byte, 4)
	_, err = operator.Read(greeting)
	assert.NoError(t, err)
	assert.Equal(t, "SSH-", string(greeting))

	l.self()
	assert.True(t, reach(5473), "with the rule, they do again")
	assert.True(t, reach(10250))
	assert.True(t, vxlan())
}

func TestSSHIsAllowedFromTheOperatorOnly(t *testing.T) {
	l := newLab(t)
	m := l.machine("a")
	assert.Equal(t, "a", l.overSSH(m, "hostname"))

	link, err := netlink.LinkByName(network{ID: l.vpc}.bridge())
	require.NoError(t, err)
	stranger := net.ParseIP("100.64.0.99")
	require.NoError(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: host(stranger)})) // removed with the bridge
	dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: stranger}}
	_, err = dialer.DialContext(t.Context(), "tcp", m.PublicIP+":22")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout(), "traffic that is not allowed is dropped, not rejected: %s", err)

	l.ingress("everybody", props{"ipProtocol": "tcp", "fromPort": 20, "toPort": 30, "cidrIpv4": "100.64.0.0/24"})
	conn, err := dialer.DialContext(t.Context(), "tcp", m.PublicIP+":22")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestEgressIsEnforced(t *testing.T) {
	l := newLab(t)
	l.self()
	a, b := l.machine("a"), l.machine("b")
	l.says(a, "nc -z -w 2 %s 22", b.PrivateIP)
	rules, err := l.driver.account.Rules(l.group)
	require.NoError(t, err)
	for _, r := range rules {
		if r.Direction == aws.Egress {
			l.delete(egressType, r.ID)
		}
	}
	_, exit := l.in(a, "nc -z -w 2 %s 22", b.PrivateIP)
	assert.NotZero(t, exit, "nothing is allowed outwards")
	l.says(a, "curl --silent --fail --max-time 2 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://%s/latest/api/token", metadata.Address)
	assert.Equal(t, "a", l.overSSH(a, "hostname"), "replies to allowed traffic pass")
}

// On AWS, traffic to a public address comes from the sender's public address. A rule that refers to the group does not
// match that.
func TestMachinesReachPublicAddressesFromTheirOwnPublicAddress(t *testing.T) {
	l := newLab(t)
	l.self()
	a, b := l.machine("a"), l.machine("b")
	_, exit := l.in(a, "nc -z -w 2 %s 22", b.PublicIP)
	assert.NotZero(t, exit, "the rule for the group itself matches private addresses only")
	l.ingress("a", props{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": a.PublicIP + "/32"})
	l.says(a, "nc -z -w 2 %s 22", b.PublicIP)
}

func TestAnElasticAddressMovesWithItsAssociation(t *testing.T) {
	l := newLab(t)
	a, b := l.machine("a"), l.machine("b")
	elastic := l.create("aws:ec2/eip:Eip", "eip", props{"domain": "vpc"})
	first := l.create("aws:ec2/eipAssociation:EipAssociation", "first", props{"allocationId": elastic, "instanceId": a.ID})
	old, a := a, l.instance(a.ID)
	assert.NotEqual(t, old.PublicIP, a.PublicIP)
	assert.Equal(t, "a", l.overSSH(a, "hostname"))
	l.delete("aws:ec2/eipAssociation:EipAssociation", first)
	l.create("aws:ec2/eipAssociation:EipAssociation", "second", props{"allocationId": elastic, "instanceId": b.ID})
	b = l.instance(b.ID)
	assert.Equal(t, a.PublicIP, b.PublicIP)
	assert.Equal(t, "b", l.overSSH(b, "hostname"))
}

func TestARestartedMachineKeepsItsDiskRoutesFirewallAndKeys(t *testing.T) {
	l := newLab(t)
	l.self()
	a, b := l.machine("a"), l.machine("b")
	l.says(a, "echo kept >/root/file; nft list table inet security-groups >/root/rules; ip route >/root/routes; cat /etc/ssh/*.pub >/root/keys")
	output, err := exec.CommandContext(t.Context(), "docker", "restart", l.box(a)).CombinedOutput()
	require.NoError(t, err, string(output))
	require.NoError(t, l.driver.awaitBoot(t.Context(), l.box(a)))
	assert.Equal(t, "a", l.overSSH(a, "hostname"))
	assert.Equal(t, "kept", l.says(a, "cat /root/file"))
	assert.Empty(t, l.says(a, "ip route | diff - /root/routes; cat /etc/ssh/*.pub | diff - /root/keys"))
	assert.Empty(t, l.says(a, "diff <(nft list table inet security-groups | grep -v counter) <(grep -v counter /root/rules)"))
	l.says(a, "nc -z -w 2 %s 22", b.PrivateIP)
	l.says(b, "nc -z -w 2 %s 22", a.PrivateIP)
}

func TestChangingTheInstanceTypeRestartsTheMachine(t *testing.T) {
	l := newLab(t)
	a := l.machine("a")
	l.says(a, "echo kept >/root/file")
	const started = "cut -d' ' -f22 /proc/1/stat" // start time of its first process, in hundredths of a second
	before := l.says(a, started)
	kind, r := l.kind(instanceType, l.inputs("a"))
	r.ID, r.Name = a.ID, "a"
	checked, _ := kind.Check(t.Context(), r)
	r.OldInputs, r.Inputs = checked, checked.Copy()
	r.Inputs["instanceType"] = resource.NewStringProperty("t3.large")
	_, err := kind.Update(t.Context(), r)
	require.NoError(t, err)
	a = l.instance(a.ID)
	assert.NotEqual(t, before, l.says(a, started))
	assert.Equal(t, "kept", l.says(a, "cat /root/file"))
	assert.Equal(t, "a", l.overSSH(a, "hostname"), "at its new public address")
}

func TestAMachineThatDoesNotBootStaysInTheState(t *testing.T) {
	l := newLab(t)
	in := l.inputs("a")
	in["userData"] = "#cloud-config\nhostname: " + strings.Repeat("x", 70) + "\n" // Linux allows 64
	_, err := l.tryCreate(instanceType, "a", in)
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	assert.NotEmpty(t, partial.ID)
	assert.Contains(t, partial.Reason, "running machine lab-a")
	b := l.machine("b")
	assert.Equal(t, "b", l.overSSH(b, "hostname"), "a failure of one machine does not affect another")
	l.delete(instanceType, partial.ID)

	require.NoError(t, l.driver.files(b.ID).write("firewall.nft", "nonsense"))
	box := l.box(b)
	require.NoError(t, l.driver.docker.ContainerRestart(t.Context(), box, container.StopOptions{}))
	err = l.driver.awaitBoot(t.Context(), box)
	require.ErrorContains(t, err, "its first process exited with code 1")
	assert.Contains(t, err.Error(), "firewall.nft:1", "with the last lines of its output")
}

func TestRestoreBringsBackStoppedAndRemovedContainers(t *testing.T) {
	l := newLab(t)
	a, b := l.machine("a"), l.machine("b")
	zero := 0
	require.NoError(t, l.driver.docker.ContainerStop(t.Context(), l.box(a), container.StopOptions{Timeout: &zero}))
	require.NoError(t, l.driver.docker.ContainerRemove(t.Context(), l.box(b), container.RemoveOptions{Force: true, RemoveVolumes: true}))
	found, err := l.driver.find(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.driver.docker.ContainerRemove(t.Context(), found.boxes[l.vpc].ID, container.RemoveOptions{Force: true}))
	require.NoError(t, Restore(t.Context(), l.driver.stateDir))
	assert.Equal(t, "a", l.overSSH(a, "hostname"))
	assert.Equal(t, "b", l.overSSH(b, "hostname"))
}

func TestAnInterruptedCreateIsFinishedByTheNextApply(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	kind, r := l.kind(instanceType, l.inputs("a"))
	r.Name, r.URN = "a", "a"
	time.AfterFunc(300*time.Millisecond, cancel)
	_, _, err := kind.Create(ctx, r)
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	require.NoError(t, l.driver.Apply(t.Context(), partial.ID))
	assert.Equal(t, "a", l.overSSH(l.instance(partial.ID), "hostname"))
}

func TestAVPCThatOverlapsAHostRouteIsRefused(t *testing.T) {
	l := newLab(t)
	_, err := l.tryCreate("aws:ec2/vpc:Vpc", "second", props{"cidrBlock": "10.77.64.0/18"})
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	assert.Contains(t, partial.Reason, "this host reaches 10.77.0.0/16 through "+network{ID: l.vpc}.bridge())
	assert.Contains(t, partial.Reason, "or destroy the rehearsal with the state in "+l.driver.stateDir)
	assert.Contains(t, partial.Reason, "another vpcCidr")
	l.delete("aws:ec2/vpc:Vpc", partial.ID)
	assert.NoError(t, errors.Unwrap(l.driver.Apply(t.Context(), l.vpc)))
}

func TestMetadata(t *testing.T) {
	l := newLab(t)
	m := l.machine("a")
	const latest = "http://169.254.169.254/latest/"
	get := "curl --silent --fail --max-time 2 "
	_, exit := l.in(m, "%s", get+latest+"meta-data/instance-id")
	assert.Equal(t, 22, exit, "IMDSv1 is refused")
	token := get + "--request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' " + latest + "api/token"
	assert.Equal(t, m.ID, l.says(m, `%s --header "X-aws-ec2-metadata-token: $(%s)" %s`, get, token, latest+"meta-data/instance-id"))

	// A client behind the machine, as its pods are: one hop further away, and masqueraded.
	l.says(m, `ip netns add pod && ip link add veth type veth peer name eth0 netns pod && ip address add 172.31.0.1/24 dev veth &&
		ip link set veth up && ip -n pod address add 172.31.0.2/24 dev eth0 && ip -n pod link set eth0 up &&
		ip -n pod route add default via 172.31.0.1 && sysctl --quiet net.ipv4.ip_forward=1 &&
		iptables -t nat -A POSTROUTING -s 172.31.0.0/24 -o eth0 -j MASQUERADE`)
	hops := func(limit int) (exit int) {
		kind, r := l.kind(instanceType, l.inputs("a"))
		r.ID, r.Name = m.ID, "a"
		r.OldInputs = r.Inputs
		in := l.inputs("a")
		in["metadataOptions"] = props{"httpTokens": "required", "httpPutResponseHopLimit": limit}
		r.Inputs = resource.NewPropertyMapFromMap(in)
		_, err := kind.Update(t.Context(), r)
		require.NoError(t, err)
		l.says(m, "%s", token) // the machine itself always gets a token
		_, exit = l.in(m, "ip netns exec pod %s", token)
		return exit
	}
	assert.Equal(t, 28, hops(1), "the answer's hop limit is too low")
	assert.Equal(t, 0, hops(2))
}

func TestMachinesReachAWSAndGit(t *testing.T) {
	t.Setenv(setup.MirrorEnv, t.TempDir())
	l := newLab(t)
	trust := `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}}`
	role := l.create("aws:iam/role:Role", "node", props{"name": "node", "assumeRolePolicy": trust})
	l.create("aws:iam/rolePolicy:RolePolicy", "node", props{"name": "node", "role": role,
		"policy": `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["ssm:GetParameter", "ec2:CreateVolume"], "Resource": "*"}}`})
	l.create("aws:ssm/parameter:Parameter", "p", props{"name": "/p", "type": "String", "value": "hello"})
	in := l.inputs("a")
	in["iamInstanceProfile"] = l.create("aws:iam/instanceProfile:InstanceProfile", "node", props{"name": "node", "role": role})
	m := l.instance(l.create(instanceType, "a", in))
	trusted, err := authority.Open()
	require.NoError(t, err)
	l.says(m, "echo '%s' >/ca.pem", trusted.PEM())

	commit, err := workloads.Publish(filepath.Join(l.driver.stateDir, gitserver.Directory, workloads.Name), workloads.Files(), "The workloads")
	require.NoError(t, err)
	const list = "git ls-remote https://" + gitserver.Host + "/" + workloads.Name + " " + workloads.Branch
	assert.Equal(t, commit+"\trefs/heads/"+workloads.Branch, l.says(m, "GIT_SSL_CAINFO=/ca.pem %s", list))
	// The machine itself trusts the authority, as its mirror has a certificate of it.
	output, exit := l.in(m, "sed '/END/q' /etc/ssl/certs/ca-certificates.crt >/other.pem; GIT_SSL_CAINFO=/other.pem GIT_SSL_CAPATH=/empty %s", list)
	assert.NotZero(t, exit, "a client without the authority's certificate does not trust the server")
	assert.Contains(t, output, "certificate")

	session, ok, err := l.driver.account.SessionOf(m)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Contains(t, l.says(m, "curl --silent http://%s/latest/meta-data/iam/security-credentials/node --header \"X-aws-ec2-metadata-token: $("+
		"curl --silent --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://%s/latest/api/token)\"", metadata.Address, metadata.Address), session.AccessKeyID)
	call := func(secret, service, target, body string) string {
		return l.says(m, "curl --silent --cacert /ca.pem --user '%s:%s' --aws-sigv4 aws:amz:eu-central-1:%s --header 'X-Amz-Security-Token: %s' "+
			"--header 'Content-Type: application/x-amz-json-1.1' --header 'X-Amz-Target: %s' --data '%s' https://%s.eu-central-1.amazonaws.com/",
			session.AccessKeyID, secret, service, session.Token, target, body, service)
	}
	// curl signs requests by itself, independently of the rehearsal's code.
	assert.Contains(t, call(session.SecretAccessKey, "ssm", "AmazonSSM.GetParameter", `{"Name": "/p"}`), `"Value":"hello"`)
	assert.Contains(t, call("other", "ssm", "AmazonSSM.GetParameter", `{"Name": "/p"}`), "SignatureDoesNotMatch")
	assert.Contains(t, call(session.SecretAccessKey, ebs.Service, ebs.CreateVolume, `{"AvailabilityZone": "eu-central-1a", "Size": 1}`), `"VolumeID":"vol-`)
	volumes, err := l.driver.account.Volumes()
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	require.NoError(t, l.driver.account.DeleteVolume(volumes[0].ID))
	assert.Contains(t, call(session.SecretAccessKey, ebs.Service, ebs.DescribeVolumes, `{}`), "is not authorized to perform: ec2:DescribeVolumes")
}

func TestTwoRehearsalsWithTheSameAddressesAreRefused(t *testing.T) {
	l := newLab(t)
	first := netip.MustParsePrefix(publicPool).Addr().Next().String()
	taken := netlink.Route{Dst: host(net.ParseIP(first)), Protocol: routeProtocol}
	loopback, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	taken.LinkIndex = loopback.Attrs().Index
	require.NoError(t, netlink.RouteAdd(&taken))
	_, err = l.tryCreate(instanceType, "a", l.inputs("a"))
	require.NoError(t, netlink.RouteDel(&taken))
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	assert.Contains(t, partial.Reason, "translating "+first+" for machine lab-a")
	assert.Contains(t, partial.Reason, "on the network device lo; destroy it first")
	require.NoError(t, l.driver.Apply(t.Context(), partial.ID), "it works when the other one is gone")
	assert.Equal(t, "a", l.overSSH(l.instance(partial.ID), "hostname"))
}
