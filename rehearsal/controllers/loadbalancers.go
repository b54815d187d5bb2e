package controllers

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/incluster/loadbalancer/names"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/kubernetes/model"
)

const albAnnotation = "alb.ingress.kubernetes.io/"

// group is the Ingresses that share a load balancer.
type group struct {
	// finalizer is on each of them.
	finalizer     string
	live, deleted []model.Object
}

// loadBalancers are made of Ingresses, one for each group of them, and go with the last.
func loadBalancers(s *scene) error {
	if !s.runs("Deployment", "aws-load-balancer-controller") {
		return nil
	}
	groups := map[string]*group{}
	for _, ingress := range s.of("networking.k8s.io", "Ingress") {
		if text(ingress.Live, "spec", "ingressClassName") != "alb" {
			continue
		}
		name, finalizer := annotation(ingress, albAnnotation+"group.name"), ""
		if name == "" {
			name, finalizer = ingress.Ref.Namespace+"/"+ingress.Ref.Name, "ingress.k8s.aws/resources"
		} else {
			finalizer = "group.ingress.k8s.aws/" + name
		}
		if groups[name] == nil {
			groups[name] = &group{finalizer: finalizer}
		}
		if g := groups[name]; ingress.Deleted.IsZero() {
			g.live = append(g.live, ingress)
		} else {
			g.deleted = append(g.deleted, ingress)
		}
	}
	existing, err := s.account.LoadBalancers()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if err := s.balance(name, groups[name], existing); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) balance(name string, g *group, existing []aws.LoadBalancer) error {
	for _, ingress := range g.live {
		if err := s.hold(ingress, g.finalizer); err != nil {
			return err
		}
	}
	wanted, err := s.wanted(name, g.live)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(existing, func(b aws.LoadBalancer) bool { return b.ARN == wanted.ARN })
	if len(g.live) > 0 && len(wanted.SecurityGroupIDs) > 0 {
		if at < 0 || !equal(existing[at], &wanted) {
			if err := s.account.PutLoadBalancer(wanted); err != nil {
				return err
			}
		}
		for _, ingress := range g.live {
			status := kubernetes.Manifest{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"hostname": wanted.DNSName}}}}
			if hostname(ingress) == wanted.DNSName {
				continue
			}
			s.changed = true
			if err := s.cluster.SetStatus(ingress.Ref, status); err != nil {
				return err
			}
		}
	}
	for _, ingress := range g.deleted {
		if !ingress.Holds(g.finalizer) || len(g.live) == 0 && at >= 0 && !s.due(ingress.Deleted, balancerDelete) {
			continue
		}
		if len(g.live) == 0 && at >= 0 {
			if err := s.account.DeleteLoadBalancer(wanted.ARN, time.Now().Add(s.latency.Of(interfaceRelease))); err != nil {
				return err
			}
		}
		if err := s.letGo(ingress, g.finalizer); err != nil {
			return err
		}
	}
	return nil
}

// equal compares what a controller decides of a load balancer; when it was made stays.
func equal(is aws.LoadBalancer, wanted *aws.LoadBalancer) bool {
	wanted.ActiveAt = is.ActiveAt
	return reflect.DeepEqual(is, *wanted)
}

// wanted is the load balancer that a group's Ingresses describe. One that they give no security group is never
// made: the controller would have to make a group, which its rights do not let it.
func (s *scene) wanted(name string, ingresses []model.Object) (aws.LoadBalancer, error) {
	b := aws.LoadBalancer{
		Name:  names.LoadBalancer(s.name, name),
		VPCID: s.machine.VPCID, ActiveAt: time.Now().Add(s.latency.Of(balancerProvision)),
	}
	sum := sha256.Sum256([]byte(b.Name))
	b.ARN = fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:loadbalancer/app/%s/%s", s.machine.Region, aws.AccountID, b.Name, hex.EncodeToString(sum[:8]))
	b.DNSName = fmt.Sprintf("%s.%s.elb.amazonaws.com", b.Name, s.machine.Region)
	subnets, err := s.subnets(ingresses)
	if err != nil {
		return b, err
	}
	b.SubnetIDs = subnets
	for _, ingress := range ingresses {
		if groups := annotation(ingress, albAnnotation+"security-groups"); groups != "" {
			b.SecurityGroupIDs = strings.Split(groups, ",")
		}
		if certificate := annotation(ingress, albAnnotation+"certificate-arn"); certificate != "" {
			b.CertificateARNs = append(b.CertificateARNs, strings.Split(certificate, ",")...)
		}
		var ports []map[string]int
		if listen := annotation(ingress, albAnnotation+"listen-ports"); listen != "" {
			if err := json.Unmarshal([]byte(listen), &ports); err != nil {
				return b, fmt.Errorf("reading listen-ports of %s: %w", ingress.Ref, err)
			}
		}
		for _, port := range ports {
			for protocol, number := range port {
				b.Listeners = append(b.Listeners, elb.Listener{Port: number, Protocol: protocol})
			}
		}
		for _, rule := range list(ingress.Live, "spec", "rules") {
			r, _ := rule.(map[string]any)
			for _, path := range list(r, "http", "paths") {
				p, _ := path.(map[string]any)
				service := text(p, "backend", "service", "name")
				port := at(p, "backend", "service", "port", "number")
				if port == nil {
					port = text(p, "backend", "service", "port", "name")
				}
				b.TargetGroups = append(b.TargetGroups, elb.TargetGroup{
					Name: names.TargetGroup(s.name, name, ingress.Ref.Namespace, service, fmt.Sprint(port)),
				})
			}
		}
	}
	byPort := func(a, b elb.Listener) int { return cmp.Compare(a.Port, b.Port) }
	byName := func(a, b elb.TargetGroup) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(b.Listeners, byPort)
	slices.SortFunc(b.TargetGroups, byName)
	slices.Sort(b.CertificateARNs)
	b.Listeners = slices.CompactFunc(b.Listeners, func(a, b elb.Listener) bool { return byPort(a, b) == 0 })
	b.TargetGroups = slices.CompactFunc(b.TargetGroups, func(a, b elb.TargetGroup) bool { return byName(a, b) == 0 })
	b.CertificateARNs = slices.Compact(b.CertificateARNs)
	return b, nil
}

// subnets are those that one of a group's Ingresses names, or else those that say by a tag that they are for
// load balancers.
func (s *scene) subnets(ingresses []model.Object) (ids []string, err error) {
	for _, ingress := range ingresses {
		if named := annotation(ingress, albAnnotation+"subnets"); named != "" {
			return strings.Split(named, ","), nil
		}
	}
	subnets, err := s.account.Subnets()
	for _, subnet := range subnets {
		if _, public := subnet.Tags["kubernetes.io/role/elb"]; public && subnet.VPCID == s.machine.VPCID {
			ids = append(ids, subnet.ID)
		}
	}
	return ids, err
}

// hostname is the load balancer's, as an Ingress has it in its status.
func hostname(ingress model.Object) string {
	first, _ := append(list(ingress.Live, "status", "loadBalancer", "ingress"), nil)[0].(map[string]any)
	return text(first, "hostname")
}
