package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestInstanceTypes(t *testing.T) {
	for _, family := range strings.Fields(`
		m1 m4 m5 m5a m5ad m5d m5dn m5n m5zn m6a m6i m6id m6idn m6in m7a m7i m7i-flex m8a m8azn m8i m8i-flex t1 t2 t3 t3a
		c3 c4 c5 c5a c5ad c5d c5n c6a c6i c6id c6in c7a c7i c7i-flex c8a c8i c8i-flex cc2
		r3 r4 r5 r5a r5b r5dn r6a r6i r6idn r7a r7i r7iz r8a r8i r8i-flex x1 x1e x2idn x2iedn x2iezn x8aedz z1d
		u-6tb1 u-24tb1 u7i-6tb u7i-12tb u7ib-12tb u7in-32tb u7inh-32tb
		d2 d3 d3en h1 hs1 i2 i3 i3en i4i i7i i7ie hpc6a hpc6id hpc7a hpc8a
		dl1 dl2q f1 f2 g2 g3 g3s g4ad g4dn g5 g6 g6e g6f g7e gr6 gr6f inf1 inf2 p2 p3dn p4d p5 p5e p5en p6-b200 p6-b300
		trn1 trn1n trn2 vt1`) {
		for _, size := range []string{".large", ".xlarge", ".224xlarge", ".metal", ".metal-48xl"} {
			assert.Empty(t, instanceTypeProblem(family+size))
		}
	}
	for _, family := range strings.Fields(`
		a1 t4g m6g m6gd m7g m7gd m8g m8gb m8gd m8gn c6g c6gd c6gn c7g c7gd c7gn c8g c8gb c8gd c8gn
		r6g r6gd r7g r7gd r8g r8gb r8gd r8gn x2gd x8g i4g i8g i8ge im4gn is4gen g5g hpc7g p6e-gb200 p6e-gb300`) {
		for _, size := range []string{".medium", ".16xlarge", ".metal"} {
			assert.Contains(t, instanceTypeProblem(family+size), "has an ARM processor", family+size)
		}
	}
	for _, name := range []string{"mac1.metal", "mac2.metal", "mac2-m2pro.metal", "mac-m4.metal"} {
		assert.Contains(t, instanceTypeProblem(name), "is a Mac", name)
	}
	for _, name := range []string{"t3", "t3-large", "T3.large", "t3.huge", "t3.large ", "large.t3", ".large"} {
		assert.Contains(t, instanceTypeProblem(name), "is not an instance type such as t3.large", name)
	}
}

func TestRegions(t *testing.T) {
	for _, name := range strings.Fields(`
		af-south-1 ap-east-1 ap-northeast-2 ap-southeast-7 ca-west-1 eu-central-2 il-central-1 me-south-1 mx-central-1 sa-east-1 us-west-2`) {
		assert.Empty(t, regionProblem(name))
	}
	for _, name := range strings.Fields(`
		cn-north-1 cn-northwest-1 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-isob-west-1 us-isof-south-1 eu-isoe-west-1 eusc-de-east-1`) {
		assert.Contains(t, regionProblem(name), name+" is in another partition of AWS", name)
	}
	for _, name := range []string{"", "seoul", "ap-northeast-2a", "AP-NORTHEAST-2", "us-east", "aws-global", "us-gov-1-1"} {
		assert.Contains(t, regionProblem(name), "is not an AWS region", name)
	}
}

func TestRepositories(t *testing.T) {
	for _, address := range []string{
		"https://github.com/example/workloads.git", "https://github.com/example/workloads", "https://git.example.com:443/w",
		"https://dev.azure.com/org/project/_git/repo", "https://gitlab.com/group/sub/group/w.git",
		"git@github.com:example/workloads.git", "git@ssh.dev.azure.com:v3/org/project/repo", "me@git.example.com:w.git",
		"git@git.example.com:/srv/git/w.git", "git@git.example.com:~me/w.git",
		"ssh://git@github.com/example/workloads.git", "ssh://git@github.com:22/example/workloads.git",
		"ssh://git@ssh.github.com:443/example/workloads.git",
	} {
		assert.Empty(t, repositoryProblem(address), address)
	}
	for want, addresses := range map[string][]string{
		"is not the address of a Git repository": {
			"/srv/git/workloads.git", "./workloads", "file:///srv/git/workloads.git", "git://github.com/example/workloads.git",
			"github.com/example/workloads", "github.com:example/workloads.git", "workloads", "https://", "https://github.com",
			"https://github.com/", "ssh://git@github.com", "git@github.com", "git@github.com:", "https://github.com/example/work loads",
			"https://github.com/example/*", "git@github.com:example/*", "!https://github.com/example/w", "oci://registry.example/chart",
			"git@github.com:example/w.git\nx",
		},
		"contains credentials": {
			"https://me:hunter2@example.com/w.git", "https://hunter2@example.com/w.git", "ssh://git:hunter2@example.com/w.git",
			"http://me:hunter2@example.com/w.git", "https://me:hunter 2@example.com/w.git", "git:hunter2@example.com:w.git",
			"ftp://me:hunter2@example.com/w.git",
		},
		"is read without encryption": {"http://github.com/example/workloads.git"},
		"has no user name":           {"ssh://github.com/example/workloads.git"},
		"has the port":               {"https://git.example.com:8443/w.git", "ssh://git@git.example.com:2222/w.git"},
	} {
		for _, address := range addresses {
			problem := repositoryProblem(address)
			assert.Contains(t, problem, want, address)
			assert.NotContains(t, problem, "hunter", "a message must not contain a password")
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"dev", "prod", "d", "eu-1", strings.Repeat("a", 16)} {
		assert.Empty(t, nameProblems("eco2", name), name)
	}
	for _, name := range []string{"", "My_Stack", "Dev", "1dev", "dev-", "-dev", "dev.eu", strings.Repeat("a", 17)} {
		assert.Len(t, nameProblems("eco2", name), 1, name)
	}
	for _, name := range []string{"eco2", "sgp", "my-cluster", strings.Repeat("a", 32)} {
		assert.Empty(t, nameProblems(name, "dev"), name)
	}
	for _, name := range []string{"Eco2", "eco_2", "2eco", "awscluster", "ssm", "sg", "sg-1", strings.Repeat("a", 33)} {
		assert.Len(t, nameProblems(name, "dev"), 1, name)
	}
	// The longest valid names must fit into AWS's shortest limit: a role's name has at most 64 characters.
	assert.LessOrEqual(t, len(strings.Repeat("a", 32)+"-"+strings.Repeat("a", 16)+"-node"), 64)
}

func TestInternetShare(t *testing.T) {
	for _, test := range []struct {
		networks string
		want     float64
	}{
		{"", 0},
		{"0.0.0.0/0", 1},
		{"0.0.0.0/1 128.0.0.0/1", 1},
		{"0.0.0.0/1 128.0.0.0/2 192.0.0.0/3", 0.875},
		{"0.0.0.0/1 10.0.0.0/8", 0.5},
		{"10.0.0.0/8 0.0.0.0/1 10.1.0.0/16", 0.5},
		{"0.0.0.0/2 0.0.0.0/2", 0.25},
		{"0.0.0.0/2 0.0.0.0/2 64.0.0.0/2", 0.5},
		{"203.0.113.7/32", 1.0 / (1 << 32)},
		{"0.0.0.0/0 0.0.0.0/1 1.2.3.4/32", 1},
	} {
		var networks []netip.Prefix
		for _, text := range strings.Fields(test.networks) {
			networks = append(networks, netip.MustParsePrefix(text))
		}
		assert.Equal(t, test.want, internetShare(networks), test.networks) // powers of two are exact
	}
}
