package awsapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/elb"
)

const (
	requestTag  = "aws:RequestTag"
	resourceTag = "aws:ResourceTag"
)

// balancerName is the shape of the names of load balancers and target groups.
var balancerName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$`)

func (c *call) createLoadBalancer(in elb.LoadBalancer) (elb.LoadBalancer, error) {
	if err := c.mayAll(c.creation(in)...); err != nil {
		return elb.LoadBalancer{}, err
	}
	existing, err := c.account.LoadBalancers()
	if err != nil {
		return elb.LoadBalancer{}, err
	}
	for _, b := range existing {
		if b.Name == in.Name {
			return elb.LoadBalancer{}, refuse("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", b.Name)
		}
	}
	b := modelled(in)
	b.ARN = c.balancerARN(in.Name)
	b.DNSName = fmt.Sprintf("%s.%s.elb.amazonaws.com", b.Name, c.region)
	b.ActiveAt = time.Now().Add(c.provision)
	if err := c.possible(&b); err != nil {
		return elb.LoadBalancer{}, err
	}
	return answered(b), c.account.PutLoadBalancer(b)
}

func (c *call) modifyLoadBalancer(in elb.LoadBalancer) (elb.LoadBalancer, error) {
	is, err := c.balancer(in.ARN)
	if err != nil {
		return elb.LoadBalancer{}, err
	}
	b := modelled(in)
	b.ARN, b.DNSName, b.ActiveAt = is.ARN, is.DNSName, is.ActiveAt
	if b.Name != is.Name {
		return elb.LoadBalancer{}, refuse("ValidationError", "The name of load balancer '%s' cannot be changed", is.Name)
	}
	if err := c.mayAll(c.modification(is, b)...); err != nil {
		return elb.LoadBalancer{}, err
	}
	if err := c.possible(&b); err != nil {
		return elb.LoadBalancer{}, err
	}
	// Interfaces in subnets that it left would stay.
	if !slices.Equal(is.SubnetIDs, b.SubnetIDs) {
		if err := c.account.DeleteLoadBalancer(is.ARN, time.Now()); err != nil {
			return elb.LoadBalancer{}, err
		}
	}
	return answered(b), c.account.PutLoadBalancer(b)
}

func (c *call) deleteLoadBalancer(in elb.Reference) (nothing, error) {
	b, err := c.balancer(in.ARN)
	if err != nil {
		return nothing{}, err
	}
	owned := tags(resourceTag, b.Tags)
	needed := []request{{"elasticloadbalancing:DeleteLoadBalancer", b.ARN, owned}}
	for _, group := range b.TargetGroups {
		needed = append(needed, request{"elasticloadbalancing:DeleteTargetGroup", c.groupARN(group.Name), owned})
	}
	if err := c.mayAll(needed...); err != nil {
		return nothing{}, err
	}
	return nothing{}, c.account.DeleteLoadBalancer(b.ARN, time.Now().Add(c.release))
}

func (c *call) describeLoadBalancers(in elb.Filter) (elb.LoadBalancers, error) {
	out := elb.LoadBalancers{LoadBalancers: []elb.LoadBalancer{}}
	for _, part := range []string{"LoadBalancers", "Listeners", "Rules", "TargetGroups", "TargetHealth", "Tags"} {
		if err := c.may("elasticloadbalancing:Describe"+part, "*", nil); err != nil {
			return out, err
		}
	}
	existing, err := c.account.LoadBalancers()
	for _, b := range existing {
		if len(in.Names) == 0 || slices.Contains(in.Names, b.Name) {
			out.LoadBalancers = append(out.LoadBalancers, answered(b))
		}
	}
	return out, err
}

func (c *call) balancer(arn string) (aws.LoadBalancer, error) {
	existing, err := c.account.LoadBalancers()
	if err != nil {
		return aws.LoadBalancer{}, err
	}
	at := slices.IndexFunc(existing, func(b aws.LoadBalancer) bool { return b.ARN == arn })
	if at < 0 {
		return aws.LoadBalancer{}, refuse("LoadBalancerNotFound", "Load balancer '%s' not found", arn)
	}
	return existing[at], nil
}

// balancerARN has a suffix that only AWS knows before the load balancer exists.
func (c *call) balancerARN(name string) string {
	return c.arn(elb.Service, "loadbalancer/app/"+name+"/"+suffix(c.region+" "+name))
}

func (c *call) groupARN(name string) string {
	return c.arn(elb.Service, "targetgroup/"+name+"/"+suffix(c.region+" "+name))
}

func suffix(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:8])
}

// listenerARN is that of a listener, or with more of a rule of it.
func listenerARN(balancer, kind string, port int) string {
	return strings.Replace(balancer, ":loadbalancer/", ":"+kind+"/", 1) + "/" + suffix(fmt.Sprint(port))
}

// creation is what a controller needs to be allowed for a new load balancer.
func (c *call) creation(in elb.LoadBalancer) (needed []request) {
	requested := tags(requestTag, in.Tags)
	arn := c.arn(elb.Service, "loadbalancer/app/"+in.Name+"/*")
	needed = append(needed, request{"elasticloadbalancing:CreateLoadBalancer", arn, requested})
	if len(in.Tags) > 0 {
		needed = append(needed, request{"elasticloadbalancing:AddTags", arn, during("CreateLoadBalancer", requested)})
	}
	b := modelled(in)
	b.ARN = c.balancerARN(b.Name)
	return append(needed, c.parts(aws.LoadBalancer{ARN: b.ARN, Tags: b.Tags}, b)...)
}

// during is the context of the tags that something gets while it is made.
func during(action string, requested map[string][]string) map[string][]string {
	context := maps.Clone(requested)
	context["elasticloadbalancing:CreateAction"] = []string{action}
	return context
}

// modification is what a controller needs for the differences.
func (c *call) modification(is, wanted aws.LoadBalancer) (needed []request) {
	owned := tags(resourceTag, is.Tags)
	of := func(action string, changed bool) {
		if changed {
			needed = append(needed, request{"elasticloadbalancing:" + action, is.ARN, owned})
		}
	}
	of("SetSecurityGroups", !slices.Equal(is.SecurityGroupIDs, wanted.SecurityGroupIDs))
	of("SetSubnets", !slices.Equal(is.SubnetIDs, wanted.SubnetIDs))
	given, taken := false, false
	for key, values := range both(is.Tags, wanted.Tags) {
		_, stays := wanted.Tags[key]
		given, taken = given || stays && values[0] != values[1], taken || !stays
	}
	if given {
		both := tags(requestTag, wanted.Tags)
		maps.Copy(both, owned)
		needed = append(needed, request{"elasticloadbalancing:AddTags", is.ARN, both})
	}
	of("RemoveTags", taken)
	return append(needed, c.parts(is, wanted)...)
}

// parts is what is needed for the differences in target groups, listeners and rules.
func (c *call) parts(is, wanted aws.LoadBalancer) (needed []request) {
	need := func(action, arn string, context map[string][]string) {
		needed = append(needed, request{"elasticloadbalancing:" + action, arn, context})
	}
	owned, requested := tags(resourceTag, is.Tags), tags(requestTag, wanted.Tags)
	groups := func(b aws.LoadBalancer) map[string]elb.TargetGroup { return byKey(b.TargetGroups, groupName) }
	for name, group := range both(groups(is), groups(wanted)) {
		old, now, arn := group[0], group[1], c.groupARN(name)
		switch {
		case now.Name == "":
			need("DeleteTargetGroup", arn, owned)
			continue
		case old.Name == "":
			need("CreateTargetGroup", c.arn(elb.Service, "targetgroup/"+name+"/*"), requested)
			if len(wanted.Tags) > 0 {
				need("AddTags", c.arn(elb.Service, "targetgroup/"+name+"/*"), during("CreateTargetGroup", requested))
			}
		case old.HealthCheckPath != now.HealthCheckPath || old.HealthCheckCodes != now.HealthCheckCodes:
			need("ModifyTargetGroup", arn, owned)
		}
		if lacks(old.InstanceIDs, now.InstanceIDs) {
			need("RegisterTargets", arn, owned)
		}
		if lacks(now.InstanceIDs, old.InstanceIDs) {
			need("DeregisterTargets", arn, owned)
		}
	}
	listeners := func(b aws.LoadBalancer) map[int]elb.Listener { return byKey(b.Listeners, listenerPort) }
	certificates := !slices.Equal(is.CertificateARNs, wanted.CertificateARNs)
	for port, listener := range both(listeners(is), listeners(wanted)) {
		old, now := listener[0], listener[1]
		arn, rules := listenerARN(is.ARN, "listener", port), listenerARN(is.ARN, "listener-rule", port)+"/*"
		switch {
		case now.Port == 0:
			need("DeleteListener", arn, nil)
			continue
		case old.Port == 0:
			need("CreateListener", is.ARN, requested)
			need("AddTags", arn, during("CreateListener", requested))
		case old.Protocol != now.Protocol || old.RedirectPort != now.RedirectPort || certificates && now.Protocol == "HTTPS":
			need("ModifyListener", arn, nil)
		}
		if lacks(old.Rules, now.Rules) {
			need("CreateRule", arn, requested)
			need("AddTags", rules, during("CreateRule", requested))
		}
		if lacks(now.Rules, old.Rules) {
			need("DeleteRule", rules, nil)
		}
	}
	return needed
}

func groupName(g elb.TargetGroup) string { return g.Name }
func listenerPort(l elb.Listener) int    { return l.Port }

func byKey[K comparable, V any](list []V, key func(V) K) map[K]V {
	m := map[K]V{}
	for _, v := range list {
		m[key(v)] = v
	}
	return m
}

// both pairs what was with what is wanted; what is missing is empty.
func both[K comparable, V any](is, wanted map[K]V) map[K][2]V {
	pairs := map[K][2]V{}
	for key, v := range is {
		pairs[key] = [2]V{v, wanted[key]}
	}
	for key, v := range wanted {
		pairs[key] = [2]V{is[key], v}
	}
	return pairs
}

// lacks says whether a list misses some of another.
func lacks[T comparable](list, other []T) bool {
	return slices.ContainsFunc(other, func(v T) bool { return !slices.Contains(list, v) })
}

// possible refuses what AWS would, and finds the network.
func (c *call) possible(b *aws.LoadBalancer) error {
	if !balancerName.MatchString(b.Name) || strings.HasPrefix(b.Name, "internal-") {
		return refuse("ValidationError", "The load balancer name '%s' must have 1 to 32 letters, digits and hyphens, and not begin with 'internal-'", b.Name)
	}
	for _, check := range []func(*aws.LoadBalancer) error{c.inTwoZones, c.inGroups, c.withTargets, c.withListeners} {
		if err := check(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) inTwoZones(b *aws.LoadBalancer) error {
	subnets, err := c.account.Subnets()
	if err != nil {
		return err
	}
	zones := map[string]bool{}
	for _, id := range b.SubnetIDs {
		at := slices.IndexFunc(subnets, func(s aws.Subnet) bool { return s.ID == id })
		switch {
		case at < 0:
			return refuse("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		case zones[subnets[at].AvailabilityZone]:
			return refuse("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		case b.VPCID != "" && b.VPCID != subnets[at].VPCID:
			return refuse("InvalidConfigurationRequest", "The subnets of a load balancer must be in one VPC")
		}
		zones[subnets[at].AvailabilityZone], b.VPCID = true, subnets[at].VPCID
	}
	if len(zones) < 2 {
		return refuse("ValidationError", "At least two subnets in two different Availability Zones must be specified")
	}
	return nil
}

func (c *call) inGroups(b *aws.LoadBalancer) error {
	groups, err := c.account.Groups()
	if err != nil {
		return err
	}
	for _, id := range b.SecurityGroupIDs {
		if !slices.ContainsFunc(groups, func(g aws.Group) bool { return g.ID == id && g.VPCID == b.VPCID }) {
			return refuse("InvalidSecurityGroup", "The security group '%s' does not exist in VPC '%s'", id, b.VPCID)
		}
	}
	if len(b.SecurityGroupIDs) == 0 {
		return refuse("InvalidSecurityGroup", "A load balancer without a security group would carry the VPC's own, which the rehearsal does not have")
	}
	return nil
}

func (c *call) withTargets(b *aws.LoadBalancer) error {
	instances, err := c.account.Instances()
	if err != nil {
		return err
	}
	for _, group := range b.TargetGroups {
		switch {
		case !balancerName.MatchString(group.Name):
			return refuse("ValidationError", "The target group name '%s' must have 1 to 32 letters, digits and hyphens", group.Name)
		case group.Protocol != "HTTP" && group.Protocol != "HTTPS":
			return refuse("ValidationError", "'%s' is no protocol of a target group: HTTP, HTTPS", group.Protocol)
		case group.NodePort < 1 || group.NodePort > 65535:
			return refuse("ValidationError", "Port %d of target group '%s' is not within 1-65535", group.NodePort, group.Name)
		}
		for _, id := range group.InstanceIDs {
			if !slices.ContainsFunc(instances, func(i aws.Instance) bool { return i.ID == id && i.VPCID == b.VPCID }) {
				return refuse("InvalidTarget", "The following targets are not in the target group VPC '%s': '%s'", b.VPCID, id)
			}
		}
	}
	return nil
}

func (c *call) withListeners(b *aws.LoadBalancer) error {
	certificates, err := c.account.Certificates()
	if err != nil {
		return err
	}
	for _, arn := range b.CertificateARNs {
		at := slices.IndexFunc(certificates, func(c aws.Certificate) bool { return c.ARN == arn })
		switch {
		case at < 0:
			return refuse("CertificateNotFound", "Certificate ARN '%s' not found", arn)
		case certificates[at].Status != "ISSUED":
			return refuse("UnsupportedCertificate", "The certificate '%s' must have a fully-qualified domain name, a supported signature, and a supported key size: it is %s", arn, certificates[at].Status)
		}
	}
	if len(byKey(b.Listeners, listenerPort)) < len(b.Listeners) {
		return refuse("DuplicateListener", "A listener already exists on a port of this load balancer")
	}
	groups := byKey(b.TargetGroups, groupName)
	for _, listener := range b.Listeners {
		switch {
		case listener.Protocol != "HTTP" && listener.Protocol != "HTTPS":
			return refuse("ValidationError", "'%s' is no protocol of an application load balancer: HTTP, HTTPS", listener.Protocol)
		case listener.Protocol == "HTTPS" && len(b.CertificateARNs) == 0:
			return refuse("ValidationError", "A certificate must be specified for HTTPS listeners")
		case listener.SSLPolicy != "" && elb.MinimumTLS[listener.SSLPolicy] == 0:
			return refuse("SSLPolicyNotFound", "SSL policy '%s' not found", listener.SSLPolicy)
		}
		for _, rule := range listener.Rules {
			if groups[rule.TargetGroup].Name == "" {
				return refuse("TargetGroupNotFound", "Target groups '%s' not found", rule.TargetGroup)
			}
		}
	}
	return nil
}

// modelled is what a controller decides of a load balancer, as the account keeps it.
func modelled(in elb.LoadBalancer) aws.LoadBalancer {
	return aws.LoadBalancer{
		Name: in.Name, SubnetIDs: in.SubnetIDs, SecurityGroupIDs: in.SecurityGroupIDs, Listeners: in.Listeners,
		CertificateARNs: in.CertificateARNs, TargetGroups: in.TargetGroups, Tags: in.Tags,
	}
}

// answered is the other way round.
func answered(b aws.LoadBalancer) elb.LoadBalancer {
	state := "active"
	if time.Now().Before(b.ActiveAt) {
		state = "provisioning"
	}
	return elb.LoadBalancer{
		ARN: b.ARN, DNSName: b.DNSName, VPCID: b.VPCID, State: state,
		Name: b.Name, SubnetIDs: b.SubnetIDs, SecurityGroupIDs: b.SecurityGroupIDs, Listeners: b.Listeners,
		CertificateARNs: b.CertificateARNs, TargetGroups: b.TargetGroups, Tags: b.Tags,
	}
}
