package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWrongSettings checks that each invalid setting is reported with its key and a correction.
func TestWrongSettings(t *testing.T) {
	node := func(name string, override values) values { return values{"nodes": values{name: override}} }
	workloads := func(repository, path string) values {
		return values{"gitops": values{"repository": repository, "revision": "main", "path": path}}
	}
	mirror := func(manifest, sum string) values {
		return values{"mirror": values{"files": "https://mirror.example", "sha256": values{manifest: sum}}}
	}
	keys := func(repository, fingerprint string) values {
		return values{"mirror": values{"files": "https://mirror.example", "keys": values{repository: fingerprint}}}
	}
	zones := func(letters string) (list []string) {
		for _, letter := range letters {
			list = append(list, "ap-northeast-2"+string(letter))
		}
		return list
	}
	for _, test := range []struct {
		name string
		set  values
		// want holds the expected problems, one per line.
		want string
	}{
		{"no VPC network", values{"vpcCidr": ""},
			"eco2:vpcCidr: is missing; set an IPv4 network such as 10.0.0.0/16"},
		{"malformed network", values{"vpcCidr": "10.0.0.0"},
			`eco2:vpcCidr: "10.0.0.0" is not an IPv4 network; write it as address/bits, such as 10.0.0.0/16`},
		{"IPv6 network", values{"vpcCidr": "fd00::/16"},
			`eco2:vpcCidr: "fd00::/16" is not an IPv4 network; write it as address/bits, such as 10.0.0.0/16`},
		{"host bits", values{"vpcCidr": "10.0.1.0/16"},
			`eco2:vpcCidr: "10.0.1.0/16" has host bits set; the network is 10.0.0.0/16`},
		{"VPC too large", values{"vpcCidr": "10.0.0.0/12"},
			"eco2:vpcCidr: 10.0.0.0/12 must be between /16 and /20"},
		{"VPC too small", values{"vpcCidr": "10.0.0.0/24"},
			"eco2:vpcCidr: 10.0.0.0/24 must be between /16 and /20"},
		{"pods in the VPC", values{"podCidr": "10.0.128.0/17"},
			"eco2:podCidr: 10.0.128.0/17 overlaps eco2:vpcCidr 10.0.0.0/16; the VPC, pod and service networks must be disjoint"},
		{"services in the VPC", values{"vpcCidr": "10.97.0.0/16"},
			"eco2:serviceCidr: 10.96.0.0/12 overlaps eco2:vpcCidr 10.97.0.0/16; the VPC, pod and service networks must be " +
				"disjoint"},
		{"services among the pods", values{"serviceCidr": "192.168.0.0/20"},
			"eco2:serviceCidr: 192.168.0.0/20 overlaps eco2:podCidr 192.168.0.0/16; the VPC, pod and service networks must " +
				"be disjoint"},
		{"a pod network for one node", values{"podCidr": "192.168.0.0/24"},
			"eco2:podCidr: 192.168.0.0/24 has room for 1 node(s), and this stack has 14; each needs a /24 of it; use /20 or " +
				"larger, or fewer nodes"},
		{"a pod network smaller than one node's", values{"podCidr": "192.168.0.0/25"},
			"eco2:podCidr: 192.168.0.0/25 has room for 0 node(s), and this stack has 14; each needs a /24 of it; use /20 or " +
				"larger, or fewer nodes"},
		{"no pod network for the last node", values{
			"podCidr": "192.168.0.0/20", "nodes": values{"k8s-redis": values{"count": 4}},
		},
			"eco2:podCidr: 192.168.0.0/20 has room for 16 node(s), and this stack has 17; each needs a /24 of it; use /19 or " +
				"larger, or fewer nodes"},
		{"a pod network larger than kubeadm supports", values{"podCidr": "192.0.0.0/7"},
			"eco2:podCidr: 192.0.0.0/7 is larger than kubeadm supports; use /8 or smaller"},
		{"no addresses for the last node", values{
			"vpcCidr": "10.0.0.0/20", "podCidr": "192.0.0.0/8", "zones": zones("ab"), "nodes": values{
				"k8s-redis": values{"count": 99}, "k8s-postgresql": values{"count": 99}, "k8s-rabbitmq": values{"count": 99},
				"k8s-api-my": values{"count": 99}, "k8s-monitoring": values{"count": 82},
			},
		},
			"eco2:vpcCidr: 10.0.0.0/20 has room for 243 nodes in each zone, and this stack has 244; use a larger network, " +
				"more zones, or fewer nodes"},
		{"too many services", values{"serviceCidr": "172.0.0.0/8"},
			"eco2:serviceCidr: 172.0.0.0/8 must be between /12 and /24"},
		{"one zone", values{"zones": zones("a")},
			"eco2:zones: has 1 zone(s); set 2 to 4, since a load balancer needs two"},
		{"five zones", values{"zones": zones("abcde")},
			"eco2:zones: has 5 zone(s); set 2 to 4, since a load balancer needs two"},
		{"a zone twice", values{"zones": zones("aa")},
			"eco2:zones: contains a zone twice; each zone has one subnet"},
		{"a zone elsewhere", values{"zones": []string{"ap-northeast-2a", "us-east-1a"}},
			`eco2:zones[1]: "us-east-1a" is not a zone of region ap-northeast-2; zones are named like ap-northeast-2a`},
		{"a zone without a network", values{"zones": zones("aq")},
			`eco2:zones[1]: "ap-northeast-2q" cannot have a subnet: a subnet's network is derived from its zone's letter, ` +
				"and eco2:vpcCidr has room for the zones a to p"},
		{"zones as text", values{"zones": "ap-northeast-2a"},
			"eco2:zones: must be a list of availability zones (invalid character 'a' looking for beginning of value)\n" +
				"eco2:zones: has 0 zone(s); set 2 to 4, since a load balancer needs two"},
		{"no region", values{"region": "seoul"},
			`eco2:region: "seoul" is not an AWS region such as ap-northeast-2` + zonesOutside("seoul")},
		{"a region of another partition", values{
			"region": "us-gov-west-1", "zones": []string{"us-gov-west-1a", "us-gov-west-1b"},
		},
			"eco2:region: us-gov-west-1 is in another partition of AWS than aws, where ARNs and the account of Ubuntu's " +
				"images differ from those that this program uses; use a region such as ap-northeast-2"},
		{"no administrator networks", values{"adminCidrs": []string{}},
			"eco2:adminCidrs: is missing; set the addresses that may reach SSH and the Kubernetes API, for instance: " +
				"pulumi config set --path 'eco2:adminCidrs[0]' 203.0.113.7/32"},
		{"an empty list of administrator networks", values{"adminCidrs": "[ ]"},
			"eco2:adminCidrs: is missing; set the addresses that may reach SSH and the Kubernetes API, for instance: " +
				"pulumi config set --path 'eco2:adminCidrs[0]' 203.0.113.7/32"},
		{"a bare address", values{"adminCidrs": []string{"203.0.113.7"}},
			`eco2:adminCidrs[0]: "203.0.113.7" is not an IPv4 network; write it as address/bits, such as 10.0.0.0/16`},
		{"an address twice", values{"adminCidrs": []string{"203.0.113.7/32", "203.0.113.7/32"}},
			"eco2:adminCidrs: contains a network twice; AWS rejects the second rule"},
		{"all addresses in prod", values{"environment": "prod", "adminCidrs": []string{"0.0.0.0/0"}},
			"eco2:adminCidrs: 0.0.0.0/0 exposes SSH and the Kubernetes API to the whole internet, which is not allowed in " +
				"prod; set your own addresses"},
		{"all addresses in both lists in prod", values{
			"environment": "prod", "adminCidrs": []string{"0.0.0.0/0"}, "nodePortCidrs": []string{"0.0.0.0/0"},
		},
			"eco2:adminCidrs: 0.0.0.0/0 exposes SSH and the Kubernetes API to the whole internet, which is not allowed in " +
				"prod; set your own addresses\n" +
				"eco2:nodePortCidrs: 0.0.0.0/0 exposes the NodePorts to the whole internet, which is not allowed in prod; set " +
				"your own addresses"},
		{"NodePorts for all addresses in prod", values{"environment": "prod", "nodePortCidrs": []string{"0.0.0.0/0"}},
			"eco2:nodePortCidrs: 0.0.0.0/0 exposes the NodePorts to the whole internet, which is not allowed in prod; set " +
				"your own addresses"},
		{"all addresses as two networks", values{"environment": "prod", "adminCidrs": []string{"0.0.0.0/1", "128.0.0.0/1"}},
			"eco2:adminCidrs: its networks together expose SSH and the Kubernetes API to 100 % of all IPv4 addresses, which " +
				"is not allowed in prod; set your own addresses"},
		{"most addresses", values{"environment": "prod", "adminCidrs": []string{"0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"}},
			"eco2:adminCidrs: its networks together expose SSH and the Kubernetes API to 87 % of all IPv4 addresses, which " +
				"is not allowed in prod; set your own addresses"},
		{"NodePorts for half of all addresses", values{"environment": "prod", "nodePortCidrs": []string{"128.0.0.0/1"}},
			"eco2:nodePortCidrs: its networks together expose the NodePorts to 50 % of all IPv4 addresses, which is not " +
				"allowed in prod; set your own addresses"},
		{"too many administrators", values{"adminCidrs": addresses(20)},
			"eco2:adminCidrs: needs 63 inbound rules together with eco2:nodePortCidrs, and AWS allows 60 in a security group: " +
				"each network of adminCidrs needs two, or three with a domain, each of nodePortCidrs one, a domain two, the " +
				"group itself one; merge adjacent networks into larger ones"},
		{"one NodePort network too many", values{"adminCidrs": addresses(1), "nodePortCidrs": addresses(55)},
			"eco2:adminCidrs: needs 61 inbound rules together with eco2:nodePortCidrs, and AWS allows 60 in a security group: " +
				"each network of adminCidrs needs two, or three with a domain, each of nodePortCidrs one, a domain two, the " +
				"group itself one; merge adjacent networks into larger ones"},
		{"no key", values{"sshPrivateKey": ""},
			"eco2:sshPrivateKey: is missing; create a key with `ssh-keygen -t ed25519 -N '' -f eco2.key` and set it with: " +
				"pulumi config set --secret eco2:sshPrivateKey < eco2.key"},
		{"not a key", values{"sshPrivateKey": "ssh-ed25519 AAAA"},
			"eco2:sshPrivateKey: is not a private key in OpenSSH or PEM form; set the whole file that ssh-keygen wrote, from " +
				"its BEGIN line to its END line"},
		{"a key with a passphrase", values{"sshPrivateKey": lockedKey(t)},
			"eco2:sshPrivateKey: is protected by a passphrase, which nobody can type during an update; remove it with: " +
				"ssh-keygen -p -N ''"},
		{"a key type that EC2 rejects", values{"sshPrivateKey": ecdsaKey(t)},
			"eco2:sshPrivateKey: is a key of type ecdsa-sha2-nistp256; EC2 key pairs support ssh-ed25519 and ssh-rsa"},
		{"no user", values{"sshUser": "Ubuntu "},
			`eco2:sshUser: "Ubuntu" is not a user name; Ubuntu's images have ubuntu, Debian's have admin`},
		{"a domain without its zone", values{"hostedZoneId": ""},
			"eco2:hostedZoneId: is missing although eco2:domain is set; set the id of the Route 53 zone that contains " +
				"dev.growbin.app"},
		{"a zone without its domain", values{"domain": ""},
			"eco2:domain: is missing although eco2:hostedZoneId is set; set the domain to serve"},
		{"a zone's name instead of its id", values{"hostedZoneId": "growbin.app"},
			`eco2:hostedZoneId: "growbin.app" is not a Route 53 hosted zone id such as Z0123456789ABCDEFGHIJ`},
		{"a URL instead of a domain", values{"domain": "https://growbin.app"},
			`eco2:domain: "https://growbin.app" is not a domain name such as dev.example.com`},
		{"a domain in capitals", values{"domain": "Dev.Growbin.app"},
			`eco2:domain: "Dev.Growbin.app" must be in lower case and without a trailing dot: dev.growbin.app`},
		{"a domain with a trailing dot", values{"domain": "dev.growbin.app."},
			`eco2:domain: "dev.growbin.app." must be in lower case and without a trailing dot: dev.growbin.app`},
		{"a domain too long for a certificate", values{"domain": strings.Repeat("a", 53) + ".growbin.app"},
			"eco2:domain: " + strings.Repeat("a", 53) + ".growbin.app has 65 characters; an AWS certificate supports at most " +
				"64, so use a shorter one"},
		{"a wildcard as a domain", values{"domain": "*.growbin.app"},
			`eco2:domain: "*.growbin.app" is not a domain name such as dev.example.com`},
		{"an unknown node", node("k8s-kafka", values{"diskGb": 20}),
			"eco2:nodes.k8s-kafka: is not a node; the nodes are " + strings.Join(nodeNames, ", ")},
		{"a malformed instance type", node("k8s-redis", values{"instanceType": "t3-large"}),
			`eco2:nodes.k8s-redis.instanceType: "t3-large" is not an instance type such as t3.large`},
		{"an instance with an ARM processor", node("k8s-master", values{"instanceType": "t4g.xlarge"}),
			"eco2:nodes.k8s-master.instanceType: t4g.xlarge has an ARM processor, and the machines' image is for amd64: AWS " +
				"would terminate the running machine before it rejects the new one; " +
				"use a type with an Intel or AMD processor, such as t3.large or m7a.large"},
		{"a tiny disk", node("k8s-redis", values{"diskGb": 4}),
			"eco2:nodes.k8s-redis.diskGb: 4 must be between 8 and 16384 GiB"},
		{"two control planes", node("k8s-master", values{"count": 3}),
			"eco2:nodes.k8s-master.count: must stay 1: the cluster has one control plane"},
		{"no node for Prometheus", node("k8s-monitoring", values{"count": 0}),
			"eco2:nodes.k8s-monitoring.count: must be at least 1: kube-prometheus-stack can run on no other node"},
		{"a negative count", node("k8s-redis", values{"count": -1}),
			"eco2:nodes.k8s-redis.count: -1 must be between 0 and 99"},
		{"a field that is not there", node("k8s-redis", values{"type": "t3.large"}),
			`eco2:nodes: must be a map from node name to {instanceType, diskGb, count} (json: unknown field "type")`},
		{"an image's name", values{"ami": "ubuntu-24.04"},
			`eco2:ami: "ubuntu-24.04" is not an image id such as ami-0123456789abcdef0`},
		{"an unsupported Kubernetes version", values{"versions": values{"kubernetes": "1.29.0"}},
			"eco2:versions.kubernetes: 1.29.0 is not a supported version; use a patch version of 1.35 or 1.36 or 1.37"},
		{"an incomplete version", values{"versions": values{"kubernetes": "1.36"}},
			`eco2:versions.kubernetes: "1.36" is not a version such as 1.36.5`},
		{"an old containerd", values{"versions": values{"containerd": "1.7.28"}},
			"eco2:versions.containerd: 1.7.28 does not support Kubernetes 1.36.5; use a patch version of 2.2 or 2.3"},
		{"a containerd version with a v", values{"versions": values{"containerd": "v2.3.7"}},
			`eco2:versions.containerd: "v2.3.7" is not a version such as 2.3.7`},
		{"a Kubernetes version without a minor one", values{"versions": values{"kubernetes": "1"}},
			`eco2:versions.kubernetes: "1" is not a version such as 1.36.5`},
		{"a Calico for an older Kubernetes", values{"versions": values{"calico": "v3.31.7"}},
			"eco2:versions.calico: Calico v3.31.7 is tested on Kubernetes 1.32, 1.33, 1.34, 1.35, not on 1.36.5; to use it " +
				"anyway, set eco2:versions.untested to true"},
		{"an Argo CD for an older Kubernetes", values{"versions": values{"argocd": "v3.4.7"}},
			"eco2:versions.argocd: Argo CD v3.4.7 is tested on Kubernetes 1.32, 1.33, 1.34, 1.35, not on 1.36.5; to use it " +
				"anyway, set eco2:versions.untested to true"},
		{"a manifest without a checksum", values{"versions": values{"argocd": "v9.9.9"}},
			`eco2:versions.argocd: "v9.9.9" has no pinned manifest; use one of v3.4.7, v3.5.1`},
		{"workloads without a path", workloads("https://github.com/example/workloads.git", ""),
			"eco2:gitops.path: is missing; set all fields of gitops or none, for instance clusters/dev/apps"},
		{"a password in a URL", workloads("https://me:hunter2@example.com/w.git", "apps"),
			"eco2:gitops.repository: contains credentials; give them to Argo CD as a repository secret instead"},
		{"a password in an SSH address", workloads("ssh://git:hunter2@example.com/w.git", "apps"),
			"eco2:gitops.repository: contains credentials; give them to Argo CD as a repository secret instead"},
		{"a local repository", workloads("/srv/git/w.git", "apps"),
			`eco2:gitops.repository: "/srv/git/w.git" is not the address of a Git repository; ` +
				"write it as https://github.com/example/workloads.git, " +
				"git@github.com:example/workloads.git or ssh://git@github.com/example/workloads.git"},
		{"a mirror's trailing slash", values{"mirror": values{"files": "https://mirror.example/"}},
			`eco2:mirror.files: "https://mirror.example/" must be an https URL without a trailing slash`},
		{"mirrors without encryption in prod", values{
			"environment": "prod", "mirror": values{"files": "http://mirror.example/files", "images": "http://mirror.example"},
		},
			`eco2:mirror.files: "http://mirror.example/files" is not encrypted, so anybody on the way can replace what the ` +
				"cluster runs, which is not allowed in prod; use https\n" +
				`eco2:mirror.images: "http://mirror.example" is not encrypted, so anybody on the way can replace what the ` +
				"cluster runs, which is not allowed in prod; use https"},
		{"the key of an unknown repository", keys("ubuntu", strings.Repeat("0", 40)),
			"eco2:mirror.keys.ubuntu: is not a package repository; those are docker, kubernetes"},
		{"a key's short id", keys("docker", "8D81803C0EBFCD88"),
			`eco2:mirror.keys.docker: "8D81803C0EBFCD88" is not the fingerprint of an OpenPGP key; set its 40 hexadecimal ` +
				"digits as `gpg --show-keys` prints them"},
		{"a key without a mirror", values{"mirror": values{"keys": values{"docker": strings.Repeat("0", 40)}}},
			"eco2:mirror.keys.docker: is for a repository that a mirror serves, and none is set; set eco2:mirror.files too"},
		{"a checksum of an unknown manifest", mirror("coredns", strings.Repeat("0", 64)),
			"eco2:mirror.sha256.coredns: is not a manifest whose checksum can be set; those are argocd, " +
				"aws-load-balancer-controller, calico, external-secrets, rabbitmq-cluster-operator, redis-operator"},
		{"a checksum for several files", mirror("kube-prometheus-stack", strings.Repeat("0", 64)),
			"eco2:mirror.sha256.kube-prometheus-stack: is not a manifest whose checksum can be set; those are argocd, " +
				"aws-load-balancer-controller, calico, external-secrets, rabbitmq-cluster-operator, redis-operator"},
		{"a truncated checksum", mirror("calico", "c2ab4f9a"),
			`eco2:mirror.sha256.calico: "c2ab4f9a" is not a SHA-256 in hexadecimal, as sha256sum prints it`},
		{"a checksum without a mirror", values{"mirror": values{"sha256": values{"calico": strings.Repeat("0", 64)}}},
			"eco2:mirror.sha256.calico: is for a manifest that a mirror serves, and none is set; set eco2:mirror.files too"},
		{"a mirror of another protocol", values{"mirror": values{"images": "ftp://mirror.example"}},
			`eco2:mirror.images: "ftp://mirror.example" must be an https URL without a trailing slash`},
		{"no password", values{"redisPassword": ""},
			"eco2:redisPassword: is missing; set it with: pulumi config set --secret eco2:redisPassword"},
		{"a password that does not fit", values{"redisPassword": strings.Repeat("x", 5000)},
			"eco2:redisPassword: is 5000 bytes long; an SSM parameter holds 4096"},
		{"a password with a space behind", values{"redisPassword": "hunter2 "},
			"eco2:redisPassword: starts or ends with white space, which is easily lost when it is copied; set it without: " +
				"pulumi config set --secret eco2:redisPassword"},
		{"a password with a newline behind", values{"redisPassword": "hunter2\n"},
			"eco2:redisPassword: starts or ends with white space, which is easily lost when it is copied; set it without: " +
				"pulumi config set --secret eco2:redisPassword"},
		{"a password of two lines", values{"redisPassword": "hunter2\nhunter3"},
			"eco2:redisPassword: contains a line break, a tab or another control character, or is not valid UTF-8; set a " +
				"single line of text: pulumi config set --secret eco2:redisPassword"},
		{"a password that is not valid UTF-8", values{"redisPassword": "hunter\xff"},
			"eco2:redisPassword: contains a line break, a tab or another control character, or is not valid UTF-8; set a " +
				"single line of text: pulumi config set --secret eco2:redisPassword"},
		{"a password that SSM takes for a reference", values{"redisPassword": "a{{ssm:b}}c"},
			`eco2:redisPassword: contains "{{", which SSM takes for a reference to another parameter and rejects; set ` +
				"another value: pulumi config set --secret eco2:redisPassword"},
		{"another environment", values{"environment": "staging"},
			`eco2:environment: "staging" is not one of dev, prod`},
		{"yes instead of true", values{"protect": "yes"},
			`eco2:protect: must be true or false, not "yes"`},
		{"several at once", values{"vpcCidr": "", "region": "ap-northeast-2", "ami": "x", "redisPassword": ""},
			"eco2:vpcCidr: is missing; set an IPv4 network such as 10.0.0.0/16\n" +
				"eco2:redisPassword: is missing; set it with: pulumi config set --secret eco2:redisPassword\n" +
				`eco2:ami: "x" is not an image id such as ami-0123456789abcdef0`},
	} {
		t.Run(test.name, func(t *testing.T) {
			newStack(t, test.set).requireProblems(t, strings.Split(test.want, "\n")...)
		})
	}
}

// zonesOutside returns the problems of the default zones in another region.
func zonesOutside(region string) string {
	var b strings.Builder
	for i, zone := range []string{"ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"} {
		fmt.Fprintf(&b, "\neco2:zones[%d]: %q is not a zone of region %s; zones are named like %sa", i, zone, region, region)
	}
	return b.String()
}

func TestASecretInPlainTextIsRefused(t *testing.T) {
	s := newStack(t, nil)
	s.secrets = nil
	want := []string{
		"eco2:sshPrivateKey: is in plain text; set it with: pulumi config set --secret eco2:sshPrivateKey < eco2.key",
	}
	for _, name := range []string{"postgres", "redis", "rabbitmq", "grafana"} {
		key := "eco2:" + name + "Password"
		want = append(want, key+": is in plain text; set it with: pulumi config set --secret "+key)
	}
	s.requireProblems(t, want...)
}

func TestInvalidStackName(t *testing.T) {
	s := newStack(t, nil)
	s.name = "My_Stack"
	s.requireProblems(t, `stack name: "My_Stack" must be lower-case letters, digits and dashes, at most 16, start with `+
		"a letter and not end with a dash")
}

// Values close to invalid ones are accepted.
func TestSettingsAtTheirBounds(t *testing.T) {
	for name, changes := range map[string]values{
		"an internationalised domain": {"domain": "dev.xn--bcher-kva.xn--p1ai"},
		"the longest domain":          {"domain": strings.Repeat("a", 52) + ".growbin.app"},
		"the smallest pod network": {
			"podCidr": "192.168.0.0/20", "nodes": values{"k8s-redis": values{"count": 3}},
		},
		"almost half of the internet in prod": {
			"environment": "prod", "adminCidrs": []string{"0.0.0.0/2", "10.0.0.0/8", "203.0.113.7/32"},
		},
		"special characters in a password": {"redisPassword": `p"{ }}ä$'\ ~`},
		"a repository over SSH": {
			"gitops": values{"repository": "git@github.com:example/workloads.git", "revision": "main", "path": "apps"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, changes)
			_, err := s.load()
			require.NoError(t, err)
			assert.Empty(t, s.warnings)
		})
	}
}

// Outside of prod a mirror without encryption is allowed, with a warning for each.
func TestAMirrorWithoutEncryptionIsWarnedAbout(t *testing.T) {
	s := newStack(t, values{"mirror": values{"files": "http://mirror.example/files", "images": "https://mirror.example"}})
	s.mustLoad(t)
	assert.Equal(t, []string{
		`eco2:mirror.files: "http://mirror.example/files" is not encrypted, so anybody on the way can replace what the ` +
			"cluster runs; use https",
	}, s.warnings)
}
