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
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
	ami        = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)
	hostedZone = regexp.MustCompile(`^Z[A-Z0-9]{7,31}$`)
	domain     = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63}|xn--[a-z0-9-]{1,58}[a-z0-9])$`)
	userName   = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	sha256Sum  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxZones is the maximum number of a stack's zones. Three are enough; a fourth allows moving from one zone to another.
const maxZones = 4

// maxCount is the maximum number of machines of one entry of the node table.
const maxCount = 99

// maxDomain is the maximum length of a certificate's first name. ACM's RequestCertificate accepts 64 characters, the
// limit of RFC 5280 for a common name.
const maxDomain = 64

// lastZone is the letter of the last zone whose subnet fits into the VPC: there are 16.
const lastZone = 'p'

func (l *loader) validate(c *Config, nodes []NodeEntry) {
	l.problems = append(l.problems, nameProblems(l.ctx.Project(), l.ctx.Stack())...)
	if c.Environment != Dev && c.Environment != Prod {
		l.problem("environment", "%q is not one of dev, prod", c.Environment)
	}
	l.network(c, nodes)
	l.unchanged(c, nodes[0].Name)
	l.access(c)
	l.rules(c)
	l.naming(c)
	l.machines(c, nodes)
	l.versions(c)
	l.gitops(c.GitOps)
	l.mirror(c.Mirror)
}

func (l *loader) network(c *Config, nodes []NodeEntry) {
	if problem := regionProblem(c.Region); problem != "" {
		l.problem("region", "%s", problem)
	}
	switch n := len(c.Zones); {
	case n < 2 || n > maxZones:
		// An Application Load Balancer requires two.
		l.problem("zones", "has %d zone(s); set 2 to %d, since a load balancer needs two", n, maxZones)
	case len(slices.Compact(slices.Sorted(slices.Values(c.Zones)))) != n:
		l.problem("zones", "contains a zone twice; each zone has one subnet")
	}
	for i, zone := range c.Zones {
		key := fmt.Sprintf("zones[%d]", i)
		suffix, ok := strings.CutPrefix(zone, c.Region)
		switch {
		case !ok || len(suffix) != 1 || suffix[0] < 'a' || suffix[0] > 'z':
			l.problem(key, "%q is not a zone of region %s; zones are named like %sa", zone, c.Region, c.Region)
		case suffix[0] > lastZone:
			l.problem(key, "%q cannot have a subnet: a subnet's network is derived from its zone's letter, and %s has room for the zones a to %c", zone, l.key("vpcCidr"), lastZone)
		}
	}
	if c.VpcCidr.IsValid() && !vpcSize(c.VpcCidr) {
		l.problem("vpcCidr", "%s must be between /16 and /20", c.VpcCidr)
	}
	networks := []struct {
		key    string
		prefix netip.Prefix
	}{{"vpcCidr", c.VpcCidr}, {"podCidr", c.PodCidr}, {"serviceCidr", c.ServiceCidr}}
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if a.prefix.IsValid() && b.prefix.IsValid() && a.prefix.Overlaps(b.prefix) {
				l.problem(b.key, "%s overlaps %s %s; the VPC, pod and service networks must be disjoint", b.prefix, l.key(a.key), a.prefix)
			}
		}
	}
	l.room(c, nodes)
	if c.ServiceCidr.IsValid() && (c.ServiceCidr.Bits() < 12 || c.ServiceCidr.Bits() > 24) {
		// kube-apiserver refuses service ranges with more than 20 host bits.
		l.problem("serviceCidr", "%s must be between /12 and /24", c.ServiceCidr)
	}
}

func (l *loader) access(c *Config) {
	if text := l.text("adminCidrs"); text == "" || text == "[]" {
		l.problem("adminCidrs", "is missing; set the addresses that may reach SSH and the Kubernetes API, for instance: "+
			"pulumi config set --path '%s[0]' 203.0.113.7/32", l.key("adminCidrs"))
	}
	for _, list := range []struct {
		key   string
		cidrs []netip.Prefix
		what  string
	}{{"adminCidrs", c.AdminCidrs, "SSH and the Kubernetes API"}, {"nodePortCidrs", c.NodePortCidrs, "the NodePorts"}} {
		if len(slices.Compact(slices.Clone(list.cidrs))) != len(list.cidrs) {
			l.problem(list.key, "contains a network twice; AWS rejects the second rule")
		}
		share := internetShare(list.cidrs)
		exposure := fmt.Sprintf("its networks together expose %s to %d %% of all IPv4 addresses", list.what, int(share*100))
		if slices.Contains(list.cidrs, everywhere) {
			exposure = fmt.Sprintf("0.0.0.0/0 exposes %s to the whole internet", list.what)
		}
		switch {
		case share < 0.5:
		case c.Environment == Prod:
			l.problem(list.key, "%s, which is not allowed in prod; set your own addresses", exposure)
		default:
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: %s", l.key(list.key), exposure))
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
		l.problem("hostedZoneId", "is missing although %s is set; set the id of the Route 53 zone that contains %s", l.key("domain"), c.Domain)
	case c.Domain == "":
		l.problem("domain", "is missing although %s is set; set the domain to serve", l.key("hostedZoneId"))
	case !hostedZone.MatchString(c.HostedZoneID):
		l.problem("hostedZoneId", "%q is not a Route 53 hosted zone id such as Z0123456789ABCDEFGHIJ", c.HostedZoneID)
	}
	plain := strings.ToLower(strings.TrimSuffix(c.Domain, "."))
	switch {
	case c.Domain == "":
	case !domain.MatchString(plain):
		l.problem("domain", "%q is not a domain name such as dev.example.com", c.Domain)
	case plain != c.Domain:
		l.problem("domain", "%q must be in lower case and without a trailing dot: %s", c.Domain, plain)
	case len(c.Domain) > maxDomain:
		l.problem("domain", "%s has %d characters; an AWS certificate supports at most %d, so use a shorter one",
			c.Domain, len(c.Domain), maxDomain)
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
		if problem := instanceTypeProblem(o.InstanceType); problem != "" {
			l.problem(key+".instanceType", "%s", problem)
		}
		// Ubuntu's image has 8 GiB; the largest gp3 volume has 16384 GiB.
		if o.DiskGB != 0 && (o.DiskGB < 8 || o.DiskGB > 16384) {
			l.problem(key+".diskGb", "%d must be between 8 and 16384 GiB", o.DiskGB)
		}
		switch {
		case o.Count == nil:
		case i == 0 && *o.Count != 1:
			l.problem(key+".count", "must stay 1: the cluster has one control plane")
		case *o.Count == 0 && nodes[i].RequiredBy != "":
			l.problem(key+".count", "must be at least 1: %s can run on no other node", nodes[i].RequiredBy)
		case *o.Count < 0 || *o.Count > maxCount:
			l.problem(key+".count", "%d must be between 0 and %d", *o.Count, maxCount)
		}
	}
}

func (l *loader) gitops(g GitOps) {
	if g == (GitOps{}) {
		return // no root Application: a cluster without workloads is valid
	}
	for _, field := range []struct{ key, value, example string }{
		{"gitops.repository", g.Repository, "https://github.com/example/workloads.git"},
		{"gitops.revision", g.Revision, "main"},
		{"gitops.path", g.Path, "clusters/dev/apps"},
	} {
		if field.value == "" {
			l.problem(field.key, "is missing; set all fields of gitops or none, for instance %s", field.example)
		}
	}
	if problem := repositoryProblem(g.Repository); g.Repository != "" && problem != "" {
		l.problem("gitops.repository", "%s", problem)
	}
}

func (l *loader) mirror(m Mirror) {
	for _, field := range []struct{ key, value string }{{"mirror.files", m.Files}, {"mirror.images", m.Images}} {
		if field.value == "" {
			continue
		}
		u, err := url.Parse(field.value)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(field.value, "/") {
			l.problem(field.key, "%q must be an http or https URL without a trailing slash", field.value)
		}
	}
	for _, component := range slices.Sorted(maps.Keys(m.SHA256)) {
		key, sum := "mirror.sha256."+component, m.SHA256[component]
		switch {
		case !slices.Contains(mirrorable, component):
			l.problem(key, "is not a manifest whose checksum can be set; those are %s", strings.Join(mirrorable, ", "))
		case !sha256Sum.MatchString(sum):
			l.problem(key, "%q is not a SHA-256 in hexadecimal, as sha256sum prints it", sum)
		case m.Files == "":
			l.problem(key, "is for a manifest that a mirror serves, and none is set; set %s too", l.key("mirror.files"))
		}
	}
}
