// Package elb is how the load balancer controller of the rehearsal speaks to its AWS: one operation for a whole load
// balancer, where AWS has one for each part. The parts need the same rights.
package elb

// Service is the name in addresses and signatures.
const Service = "elasticloadbalancing"

// The operations. Create and Modify take a LoadBalancer and answer it as it is, Delete takes a Reference,
// Describe takes a Filter and answers LoadBalancers.
const (
	CreateLoadBalancer    = "ElasticLoadBalancing.CreateLoadBalancer"
	ModifyLoadBalancer    = "ElasticLoadBalancing.ModifyLoadBalancer"
	DeleteLoadBalancer    = "ElasticLoadBalancing.DeleteLoadBalancer"
	DescribeLoadBalancers = "ElasticLoadBalancing.DescribeLoadBalancers"
)

// LoadBalancer is an Application Load Balancer with all that belongs to it.
type LoadBalancer struct {
	// ARN, DNSName, VPCID and State are AWS's to say. Modify finds the load balancer by its ARN.
	ARN     string `json:",omitempty"`
	DNSName string `json:",omitempty"`
	VPCID   string `json:",omitempty"`
	// State is "active", or "provisioning" at first.
	State string `json:",omitempty"`

	// Name has up to 32 letters, digits and hyphens, and stays.
	Name string
	// SubnetIDs are at least two, each in another zone.
	SubnetIDs        []string
	SecurityGroupIDs []string
	Listeners        []Listener
	CertificateARNs  []string `json:",omitempty"` // for the listeners that speak HTTPS
	TargetGroups     []TargetGroup
	// Tags are the target groups' and listeners' too.
	Tags map[string]string
}

// Listener is a port of a load balancer.
type Listener struct {
	Port     int
	Protocol string // HTTP or HTTPS
	// RedirectPort sends every request to HTTPS at this port instead of following rules; 0 is no redirect.
	RedirectPort int `json:",omitempty"`
	// SSLPolicy names the versions of TLS that HTTPS speaks; empty is AWS's default, which begins at 1.0.
	SSLPolicy string `json:",omitempty"`
	// Rules are tried in their order. A request that none is for is answered with 404.
	Rules []Rule `json:",omitempty"`
}

// Rule sends requests to a target group.
type Rule struct {
	Host        string `json:",omitempty"` // empty is all; may begin with "*."
	Path        string `json:",omitempty"` // empty is all; may end with "*"
	TargetGroup string // its name
}

// TargetGroup is where a load balancer sends requests: a port of machines.
type TargetGroup struct {
	Name     string // up to 32 letters, digits and hyphens
	Protocol string `json:",omitempty"` // what the machines speak, HTTP or HTTPS
	NodePort int    `json:",omitempty"`
	// HealthCheckPath is what a healthy machine answers at the same port with one of HealthCheckCodes: "200", "200,204",
	// "200-399".
	HealthCheckPath  string   `json:",omitempty"`
	HealthCheckCodes string   `json:",omitempty"`
	InstanceIDs      []string `json:",omitempty"`
}

// Reference names a load balancer.
type Reference struct{ ARN string }

// Filter chooses load balancers by name; without names, all.
type Filter struct {
	Names []string `json:",omitempty"`
}

// LoadBalancers is a list of them.
type LoadBalancers struct{ LoadBalancers []LoadBalancer }
