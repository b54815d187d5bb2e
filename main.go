// Eco² is a self-managed Kubernetes cluster on EC2, declared by one Pulumi program: its network, its one
// security group, its 14 machines, and what runs on them before any workload does.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/config"
	"eco2/infra"
	"eco2/platform"
)

func main() {
	pulumi.Run(program)
}

// program composes the layers. Each takes what the one before it returns, and nothing reads back up.
func program(ctx *pulumi.Context) error {
	c, err := config.Load(ctx, infra.Entries())
	if err != nil {
		return err
	}
	i, err := infra.New(ctx, c)
	if err != nil {
		return err
	}
	k, err := cluster.New(ctx, c, i)
	if err != nil {
		return err
	}
	if c.Platform {
		if err := platform.New(ctx, c, i, k); err != nil {
			return err
		}
		ctx.Export("argocdUrl", pulumi.String(cluster.ArgoCDURL(c)))
	}

	ctx.Export("apiEndpoint", i.APIEndpoint())
	ctx.Export("kubeconfig", k.Kubeconfig) // secret
	ssh, nodes, zones := pulumi.StringMap{}, pulumi.StringMap{}, pulumi.StringMap{}
	for _, node := range i.Nodes {
		ssh[node.Name] = pulumi.Sprintf("ssh %s@%s", c.SSH.User, node.PublicIP)
		nodes[node.Name] = pulumi.Sprintf("%s %s %s %s", node.InstanceType, node.AvailabilityZone, node.Instance.ID(), node.PrivateIP)
		zones[node.Name] = node.Instance.AvailabilityZone // where it is, also if an update has left it out
	}
	ctx.Export("ssh", ssh)
	ctx.Export("nodes", nodes)                         // type, zone, instance, private address
	ctx.Export(config.PreviousOutput, c.Output(zones)) // for the next run
	return nil
}
