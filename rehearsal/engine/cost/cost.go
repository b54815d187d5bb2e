// Package cost estimates the monthly cost of a stack's resources on AWS, from a dated table of prices that anybody can
// correct: prices.yaml.
package cost

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// Part is a category of costs.
type Part string

// The parts of an estimate, in the order in which they are shown.
const (
	Instances     Part = "instances"
	Disks         Part = "disks of the machines"
	Volumes       Part = "volumes that charts claim"
	Addresses     Part = "public IPv4 addresses"
	LoadBalancers Part = "load balancers"
)

// Parts lists all parts.
var Parts = []Part{Instances, Disks, Volumes, Addresses, LoadBalancers}

// Amount is an amount of money per month.
type Amount struct {
	Monthly float64
	// Incomplete is true if a price is missing, so that the cost is higher than Monthly.
	Incomplete bool
}

// Estimate is the monthly cost of a stack.
type Estimate struct {
	Parts map[Part]Amount
	// Unpriced explains what is missing, one sentence for each reason.
	Unpriced []string
}

// Total returns the sum of the parts.
func (e Estimate) Total() Amount {
	var total Amount
	for _, part := range Parts { // in a fixed order, as the sum of floats depends on it
		total.Monthly += e.Parts[part].Monthly
		total.Incomplete = total.Incomplete || e.Parts[part].Incomplete
	}
	return total
}

// The types of resources that cost something, or that determine what others cost.
const (
	provider    tokens.Type = "pulumi:providers:aws"
	instance    tokens.Type = "aws:ec2/instance:Instance"
	subnet      tokens.Type = "aws:ec2/subnet:Subnet"
	volume      tokens.Type = "aws:ebs/volume:Volume"
	elastic     tokens.Type = "aws:ec2/eip:Eip"
	association tokens.Type = "aws:ec2/eipAssociation:EipAssociation"
	ingress     tokens.Type = "kubernetes:networking.k8s.io/v1:Ingress"
	release     tokens.Type = "kubernetes:helm.sh/v3:Release"
)

// The names in the table that do not come from an input of a resource.
const (
	address      = "public IPv4 address"
	loadBalancer = "Application Load Balancer"
)

// Estimate adds up what resources cost, according to their inputs.
func (p Prices) Estimate(resources []apitype.ResourceV3) Estimate {
	s := sum{prices: p, parts: map[Part]Amount{}, unpriced: map[string]bool{}, byURN: map[resource.URN]apitype.ResourceV3{}}
	for _, r := range resources {
		s.byURN[r.URN] = r
		if region, ok := r.Inputs["region"].(string); r.Type == provider && ok && region != p.Region {
			s.missing(fmt.Sprintf("prices.yaml has no prices for %s, only for %s", region, p.Region), Parts...)
			return s.estimate()
		}
	}
	s.instances()
	for _, r := range s.of(volume) {
		if size, ok := r.Inputs["size"].(float64); ok {
			s.add(Disks, text(r.Inputs["type"], "the default type of volume"), size)
		} else {
			s.missing(fmt.Sprintf("the size of volume %s is not known", r.URN.Name()), Disks)
		}
	}
	s.loadBalancers()
	for range s.of(elastic) {
		s.add(Addresses, address, 1)
	}
	for _, r := range s.of(release) {
		values, ok := r.Inputs["values"].(map[string]any)
		if !ok && r.Inputs["values"] != nil { // the values are secret, or not known yet
			s.missing(fmt.Sprintf("the values of release %s cannot be read: it may claim volumes", r.URN.Name()), Volumes)
		}
		s.claims(values, 1)
	}
	return s.estimate()
}

type sum struct {
	prices   Prices
	byURN    map[resource.URN]apitype.ResourceV3
	parts    map[Part]Amount
	unpriced map[string]bool
}

func (s *sum) estimate() Estimate {
	return Estimate{Parts: s.parts, Unpriced: slices.Sorted(maps.Keys(s.unpriced))}
}

// of returns the resources of a type, in a fixed order.
func (s *sum) of(kind tokens.Type) []apitype.ResourceV3 {
	var found []apitype.ResourceV3
	for _, urn := range slices.Sorted(maps.Keys(s.byURN)) {
		if r := s.byURN[urn]; r.Type == kind {
			found = append(found, r)
		}
	}
	return found
}

// add adds the price of a quantity of what the table calls name.
func (s *sum) add(part Part, name string, quantity float64) {
	monthly, ok := s.prices.monthly(name)
	if !ok {
		s.missing(fmt.Sprintf("no price for %s in prices.yaml", name), part)
		return
	}
	amount := s.parts[part]
	amount.Monthly += monthly * quantity
	s.parts[part] = amount
}

func (s *sum) missing(sentence string, parts ...Part) {
	s.unpriced[sentence] = true
	for _, part := range parts {
		amount := s.parts[part]
		amount.Incomplete = true
		s.parts[part] = amount
	}
}

func (s *sum) instances() {
	// An elastic address replaces the public address that an instance would have otherwise.
	hasElastic := map[resource.URN]bool{}
	for _, r := range s.of(association) {
		for _, urn := range r.PropertyDependencies["instanceId"] {
			hasElastic[urn] = true
		}
	}
	for _, r := range s.of(instance) {
		s.add(Instances, text(r.Inputs["instanceType"], "an unknown instance type"), 1)

		disk, _ := r.Inputs["rootBlockDevice"].(map[string]any)
		size, ok := disk["volumeSize"].(float64)
		if ok {
			s.add(Disks, text(disk["volumeType"], "the image's type of disk"), size)
		} else {
			s.missing(fmt.Sprintf("the size of %s's root disk depends on its image", r.URN.Name()), Disks)
		}

		public, known := s.public(r)
		switch {
		case !known:
			s.missing(fmt.Sprintf("the program does not say whether %s has a public address", r.URN.Name()), Addresses)
		case public && !hasElastic[r.URN]:
			s.add(Addresses, address, 1)
		}
	}
}

// public reports whether an instance gets a public address when it starts, which its own input or its subnet's
// determines.
func (s *sum) public(r apitype.ResourceV3) (public, known bool) {
	if own, ok := r.Inputs["associatePublicIpAddress"].(bool); ok {
		return own, true
	}
	for _, urn := range r.PropertyDependencies["subnetId"] {
		if parent, ok := s.byURN[urn]; ok && parent.Type == subnet {
			public, _ = parent.Inputs["mapPublicIpOnLaunch"].(bool)
			return public, true
		}
	}
	return false, false
}

// loadBalancers adds the load balancers that the controller creates for Ingresses: one for each group, and one for each
// Ingress without a group. A public one has an address in each availability zone.
func (s *sum) loadBalancers() {
	zones := map[any]bool{}
	for _, r := range s.of(subnet) {
		if public, _ := r.Inputs["mapPublicIpOnLaunch"].(bool); public {
			zones[r.Inputs["availabilityZone"]] = true
		}
	}
	public := map[string]bool{} // by group
	for _, r := range s.of(ingress) {
		metadata, _ := r.Inputs["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		spec, _ := r.Inputs["spec"].(map[string]any)
		if spec["ingressClassName"] != "alb" && annotations["kubernetes.io/ingress.class"] != "alb" {
			continue
		}
		group := text(annotations["alb.ingress.kubernetes.io/group.name"], "ingress "+string(r.URN))
		public[group] = public[group] || annotations["alb.ingress.kubernetes.io/scheme"] == "internet-facing"
	}
	for _, open := range public {
		s.add(LoadBalancers, loadBalancer, 1)
		if open {
			s.add(Addresses, address, float64(len(zones)))
		}
	}
}

// text returns a value that is a string, or otherwise if it is not a string or not known before the update.
func text(value any, otherwise string) string {
	if text, ok := value.(string); ok && text != "" && text != plugin.UnknownStringValue {
		return text
	}
	return otherwise
}
