// Command eco2 is the Pulumi program that declares a self-managed Kubernetes cluster on EC2: its network, its one
// security group, its 14 machines, and the platform that runs on them before any workload does.
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

// program declares the layers in order: configuration, infrastructure, cluster, platform, workloads. Each uses only the
// results of those before it.
func program(ctx *pulumi.Context) error {
	c, err := config.Load(ctx, infra.NodeEntries())
	if err != nil {
		return err
	}
	i, err := infra.New(ctx, "infra", &infra.Args{Config: c})
	if err != nil {
		return err
	}
	k, err := cluster.New(ctx, "cluster", &cluster.Args{Config: c, Infra: i})
	if err != nil {
		return err
	}
	if c.Platform {
		p, err := platform.New(ctx, "platform", &platform.Args{Config: c, Infra: i, Cluster: k})
		if err != nil {
			return err
		}
		last := []pulumi.Resource{p}
		if c.GitOps.Repository != "" {
			w, err := platform.NewWorkloads(ctx, "workloads", &platform.WorkloadsArgs{Platform: p})
			if err != nil {
				return err
			}
			last = append(last, w)
		}
		if err := k.Sweep(ctx, c.Protect, last...); err != nil {
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
		zones[node.Name] = node.Instance.AvailabilityZone // the actual zone, even if this update excludes the machine
	}
	ctx.Export("ssh", ssh)
	ctx.Export("nodes", nodes)                                                                           // type, zone, instance, private address
	ctx.Export(config.PreviousOutput, c.Output(zones, i.ControlPlane().PrivateIP, k.CertificatesExpire)) // read by the next run: see config.Previous
	return nil
}
