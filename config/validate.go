package config

import (
	"regexp"
)

var ami = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)

// validate reports what AWS, Kubernetes or the program would reject in the settings, and warns about what is allowed
// but dangerous. It skips networks and keys that are missing or malformed, because reading them has reported that.
func (r *report) validate(c Config, nodes []NodeEntry) {
	r.problems = append(r.problems, nameProblems(r.project, r.stack)...)
	if c.Environment != Dev && c.Environment != Prod {
		r.problem("environment", "%q is not one of dev, prod", c.Environment)
	}
	if problem := regionProblem(c.Region); problem != "" {
		r.problem("region", "%s", problem)
	}
	r.checkZones(c.Zones, c.Region)
	r.checkNetworks(c)
	r.checkRoom(c, nodes)
	r.checkUnchanged(c, nodes[0].Name)
	r.checkAccess(c)
	r.checkUser(c.SSH.User)
	r.checkInboundRules(c)
	r.checkDomain(c.Domain, c.HostedZoneID)
	if c.AMI != "" && !ami.MatchString(c.AMI) {
		r.problem("ami", "%q is not an image id such as ami-0123456789abcdef0", c.AMI)
	}
	r.checkNodes(c.Nodes, nodes)
	r.checkVersions(c.Versions)
	r.checkUpgrade(c)
	r.warnOfRenewal(c)
	r.checkGitOps(c.GitOps)
	r.checkMirror(c.Mirror, c.Environment)
	r.checkBackup(c)
}
