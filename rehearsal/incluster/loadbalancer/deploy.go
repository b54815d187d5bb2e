package loadbalancer

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/incluster/loadbalancer/describe"
	"eco2/rehearsal/incluster/loadbalancer/names"
)

// describe says which load balancer a group's members want.
func (c *controller) describe(ctx context.Context, g group, members []*networkingv1.Ingress) (elb.LoadBalancer, error) {
	targets, err := c.targets(ctx)
	if err != nil {
		return elb.LoadBalancer{}, err
	}
	var network ec2.Subnets
	if err := c.aws.Call(ctx, ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: c.VPC}, &network); err != nil {
		return elb.LoadBalancer{}, err
	}
	return describe.Cluster{
		Name: c.Cluster, Subnets: network.Subnets, Targets: targets, SSLPolicy: c.SSLPolicy,
		NodePort: func(service types.NamespacedName, port intstr.IntOrString) (int, error) {
			return c.nodePort(ctx, service, port)
		},
	}.LoadBalancer(g.String(), members)
}

// nodePort is the port of all machines that leads to a Service's.
func (c *controller) nodePort(ctx context.Context, name client.ObjectKey, port intstr.IntOrString) (int, error) {
	var service corev1.Service
	if err := c.cluster.Get(ctx, name, &service); err != nil {
		return 0, err
	}
	for _, p := range service.Spec.Ports {
		if port.Type == intstr.Int && port.IntVal != p.Port || port.Type == intstr.String && port.StrVal != p.Name {
			continue
		}
		if p.NodePort == 0 {
			return 0, fmt.Errorf("TargetGroup port is empty: Service %s is of type %s, and targets that are instances need NodePort", name, service.Spec.Type)
		}
		return int(p.NodePort), nil
	}
	return 0, fmt.Errorf("unable to find port %s on service %s", port.String(), name)
}

// remove takes a group's load balancer away.
func (c *controller) remove(ctx context.Context, g group) error {
	is, found, err := describe.Find(ctx, c.aws, c.Cluster, names.LoadBalancer(c.Cluster, g.String()))
	if err != nil || !found {
		return err
	}
	if err := c.aws.Call(ctx, elb.Service, elb.DeleteLoadBalancer, elb.Reference{ARN: is.ARN}, nil); err != nil {
		return err
	}
	if _, found, err = describe.Find(ctx, c.aws, c.Cluster, is.Name); err == nil && found {
		err = fmt.Errorf("load balancer %s is still there", is.Name)
	}
	return err
}
