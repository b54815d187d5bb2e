package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	everywhere   = netip.MustParsePrefix("0.0.0.0/0")
	region       = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|\d*xlarge|metal(-\d+xl)?)$`)
	ami          = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)
	hostedZone   = regexp.MustCompile(`^Z[A-Z0-9]{7,31}$`)
	domain       = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)
	userName     = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	sha256Sum    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	stackName    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)
)

// maxZones is how many zones a stack may have: three are enough for anything here, and a fourth for a move.
const maxZones = 4

// lastZone is the letter of the last zone whose subnet fits into the network: there are 16.
const lastZone = 'p'

func (l *loader) validate(c *Config, nodes []NodeEntry) {
	if !stackName.MatchString(l.ctx.Stack()) {
		// The name goes into IAM roles, key pairs and tags, and each AWS service has rules of its own.
		l.problems = append(l.problems, Problem{"stack name", fmt.Sprintf(
			"%q must be lower-case letters, digits and dashes, 16 at most", l.ctx.Stack())})
	}
	if c.Environment != Dev && c.Environment != Prod {
		l.problem("environment", "%q is not one of dev, prod", c.Environment)
	}
	l.network(c)
	l.unchanged(c, nodes[0].Name)
	l.access(c)
	l.rules(c)
	l.naming(c)
	l.machines(c, nodes)
	l.versions(c)
	l.gitops(c.GitOps)
	l.mirror(c.Mirror)
}

func (l *loader) network(c *Config) {
	if !region.MatchString(c.Region) {
		l.problem("region", "%q is not an AWS region such as ap-northeast-2", c.Region)
	}
	switch n := len(c.Zones); {
	case n < 2 || n > maxZones:
		// Two: an Application Load Balancer refuses fewer.
		l.problem("zones", "has %d zone(s); give 2 to %d, since a load balancer needs two", n, maxZones)
	case len(slices.Compact(slices.Sorted(slices.Values(c.Zones)))) != n:
		l.problem("zones", "names a zone twice; each subnet needs a zone of its own")
	}
	for i, zone := range c.Zones {
		key := fmt.Sprintf("zones[%d]", i)
		suffix, ok := strings.CutPrefix(zone, c.Region)
		switch {
		case !ok || len(suffix) != 1 || suffix[0] < 'a' || suffix[0] > 'z':
			l.problem(key, "%q is not a zone of region %s; zones are named like %sa", zone, c.Region, c.Region)
		case suffix[0] > lastZone:
			l.problem(key, "%q has no network: a subnet's network is by its zone's letter, and %s holds those of a to %c", zone, l.key("vpcCidr"), lastZone)
		}
	}
	if c.VpcCidr.IsValid() && (c.VpcCidr.Bits() < 16 || c.VpcCidr.Bits() > 20) {
		// 16 is AWS's own bound; above 20 a subnet would hold fewer than the addresses a load balancer
		// and 14 nodes with room to grow need.
		l.problem("vpcCidr", "%s must be between /16 and /20", c.VpcCidr)
	}
	networks := []struct {
		key    string
		prefix netip.Prefix
	}{{"vpcCidr", c.VpcCidr}, {"podCidr", c.PodCidr}, {"serviceCidr", c.ServiceCidr}}
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if a.prefix.IsValid() && b.prefix.IsValid() && a.prefix.Overlaps(b.prefix) {
				l.problem(b.key, "%s overlaps %s %s; a packet could not tell where to go", b.prefix, l.key(a.key), a.prefix)
			}
		}
	}
	if c.PodCidr.IsValid() && c.PodCidr.Bits() > 22 {
		// kubeadm gives each node a /24.
		l.problem("podCidr", "%s is too small; each node takes a /24 of it, so give /22 or larger", c.PodCidr)
	}
	if c.ServiceCidr.IsValid() && (c.ServiceCidr.Bits() < 12 || c.ServiceCidr.Bits() > 24) {
		// kube-apiserver refuses service ranges with more than 20 host bits.
		l.problem("serviceCidr", "%s must be between /12 and /24", c.ServiceCidr)
	}
}

func (l *loader) access(c *Config) {
	if text := l.text("adminCidrs"); text == "" || text == "[]" {
		l.problem("adminCidrs", "is missing; name the addresses that may reach SSH and the Kubernetes API, for instance: "+
			"pulumi config set --path '%s[0]' 203.0.113.7/32", l.key("adminCidrs"))
	}
	for _, list := range []struct {
		key   string
		cidrs []netip.Prefix
		what  string
	}{{"adminCidrs", c.AdminCidrs, "SSH and the Kubernetes API"}, {"nodePortCidrs", c.NodePortCidrs, "the NodePorts"}} {
		switch {
		case len(slices.Compact(slices.Clone(list.cidrs))) != len(list.cidrs):
			l.problem(list.key, "names a network twice; AWS refuses the second rule")
		case !slices.Contains(list.cidrs, everywhere):
		case c.Environment == Prod:
			l.problem(list.key, "0.0.0.0/0 opens %s to the whole internet, which prod refuses; name your own addresses", list.what)
		default:
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: 0.0.0.0/0 opens %s to the whole internet", l.key(list.key), list.what))
		}
	}
	if len(c.NodePortCidrs) == 0 {
		c.NodePortCidrs = c.AdminCidrs
	}
	if !userName.MatchString(c.SSH.User) {
		l.problem("sshUser", "%q is not a user name; Ubuntu's images have ubuntu, Debian's have admin", c.SSH.User)
	}
}

func (l *loader) naming(c *Config) {
	switch {
	case c.Domain == "" && c.HostedZoneID == "":
		return
	case c.HostedZoneID == "":
		l.problem("hostedZoneId", "is missing although %s is set; name the Route 53 zone that holds %s", l.key("domain"), c.Domain)
	case c.Domain == "":
		l.problem("domain", "is missing although %s is set; name the domain to serve", l.key("hostedZoneId"))
	case !hostedZone.MatchString(c.HostedZoneID):
		l.problem("hostedZoneId", "%q is not a Route 53 hosted zone id such as Z0123456789ABCDEFGHIJ", c.HostedZoneID)
	}
	if c.Domain != "" && !domain.MatchString(c.Domain) {
		l.problem("domain", "%q is not a domain name such as dev.example.com", c.Domain)
	}
}

func (l *loader) machines(c *Config, nodes []NodeEntry) {
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	if c.AMI != "" && !ami.MatchString(c.AMI) {
		l.problem("ami", "%q is not an image id such as ami-0123456789abcdef0", c.AMI)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Nodes)) {
		key, o := "nodes."+name, c.Nodes[name]
		i := slices.Index(names, name)
		if i < 0 {
			l.problem(key, "is not a node; the nodes are %s", strings.Join(names, ", "))
			continue
		}
		if o.InstanceType != "" && !instanceType.MatchString(o.InstanceType) {
			l.problem(key+".instanceType", "%q is not an instance type such as t3.large", o.InstanceType)
		}
		// 8 GiB: Ubuntu's image; 16384 GiB: the largest gp3 volume.
		if o.DiskGB != 0 && (o.DiskGB < 8 || o.DiskGB > 16384) {
			l.problem(key+".diskGb", "%d must be between 8 and 16384 GiB", o.DiskGB)
		}
		switch {
		case o.Count == nil:
		case i == 0 && *o.Count != 1:
			l.problem(key+".count", "must stay 1: the cluster has one control plane")
		case *o.Count == 0 && nodes[i].Needed != "":
			l.problem(key+".count", "must be at least 1: %s runs on no other node", nodes[i].Needed)
		case *o.Count < 0 || *o.Count > 99:
			l.problem(key+".count", "%d must be between 0 and 99", *o.Count)
		}
	}
}

func (l *loader) gitops(g GitOps) {
	if g == (GitOps{}) {
		return // no root Application: a cluster without workloads is a fine cluster
	}
	for _, field := range []struct{ key, value, example string }{
		{"gitops.repository", g.Repository, "https://github.com/example/workloads.git"},
		{"gitops.revision", g.Revision, "main"},
		{"gitops.path", g.Path, "clusters/dev/apps"},
	} {
		if field.value == "" {
			l.problem(field.key, "is missing; give all of gitops or none, for instance %s", field.example)
		}
	}
	if u, err := url.Parse(g.Repository); g.Repository != "" && (err != nil || u.Host == "") {
		l.problem("gitops.repository", "%q is not the URL of a Git repository", g.Repository)
	} else if err == nil && u.User != nil {
		l.problem("gitops.repository", "carries credentials; give them to Argo CD as a repository secret instead")
	}
}

func (l *loader) mirror(m Mirror) {
	for _, field := range []struct{ key, value string }{{"mirror.files", m.Files}, {"mirror.images", m.Images}} {
		if field.value == "" {
			continue
		}
		u, err := url.Parse(field.value)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(field.value, "/") {
			l.problem(field.key, "%q must be an http or https URL without a slash at its end", field.value)
		}
	}
	for _, component := range slices.Sorted(maps.Keys(m.SHA256)) {
		key, sum := "mirror.sha256."+component, m.SHA256[component]
		switch {
		case !slices.Contains(ownForms, component):
			l.problem(key, "names no manifest; those are %s", strings.Join(ownForms, ", "))
		case !sha256Sum.MatchString(sum):
			l.problem(key, "%q is not a SHA-256 in hexadecimal, as sha256sum prints it", sum)
		case m.Files == "":
			l.problem(key, "is of a manifest that nothing serves; set %s too", l.key("mirror.files"))
		}
	}
}
