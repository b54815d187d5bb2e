package cluster

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
	"eco2/infra"
)

// worker is a node that joins the cluster. If it alone is removed, it is drained and leaves the cluster first.
type worker struct {
	pulumi.ResourceState
	component.Children
}

// workerArgs holds a worker's inputs.
type workerArgs struct {
	Config config.Config
	// Node is the worker's machine.
	Node *infra.Node
	// Host is the control plane's machine, on which the worker's commands run.
	Host *host
	// ControlPlane is the cluster that the worker joins, and VPC the network that contains it.
	ControlPlane *controlPlane
	VPC          *ec2.Vpc
}

// newWorker declares a worker.
func newWorker(ctx *pulumi.Context, name string, args *workerArgs, opts ...pulumi.ResourceOption) (*worker, error) {
	w := &worker{}
	c, node, host := args.Config, args.Node, args.Host
	if err := component.Register(ctx, "eco2:cluster:Worker", name, w, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(w)

	prepared, err := host.prepare(ctx, node, c, parent)
	if err != nil {
		return nil, err
	}

	// This is the node's membership in the cluster.
	_, err = host.newCommand(ctx, "member-"+name, &CommandArgs{
		// The script creates a token and uses it at once. A token from a separate resource would be stored in the state,
		// and would have expired when a failed update is run again the next day.
		Create: Script{Name: "join", Args: Arguments{}.
			Flag("node", pulumi.String(node.Name)).
			Flag("address", node.PrivateIP).
			Flag("host-key", node.HostKey).
			Flag("user", pulumi.String(c.SSH.User)).
			Flag("endpoint", pulumi.Sprintf("%s:6443", host.node.PrivateIP)).
			Flag("provider-id", node.ProviderID()).
			labelsAndTaints(node)},
		// The provider ID says which machine must leave: if AWS took the machine away, another one may have its name by
		// now.
		Delete: Script{Name: "leave", Args: Arguments{}.
			Flag("node", pulumi.String(node.Name)).
			Flag("provider-id", node.ProviderID())},
		Stdin: c.SSH.PrivateKey, Minutes: 15,
		// If this node's machine is replaced, the old one leaves the cluster before it is terminated. If the control
		// plane's machine is replaced, every worker only joins again: leaving would drain all nodes of a cluster that no
		// longer exists.
		Triggers: []*infra.Node{node}, UpdateTrigger: host.node.Instance.ID(),
	}, parent,
		// Removing one node drains it, but destroying the whole cluster must not drain every node. If the VPC is deleted,
		// the whole cluster is.
		pulumi.DeletedWith(args.VPC),
		// If the node left only after the new machine had joined, the new one would be drained.
		pulumi.DeleteBeforeReplace(true),
		// Earlier versions of the program had a separate command for leaving. Without this alias it would be deleted as
		// another resource, and drain the node.
		pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String("leave-" + name)}}),
		component.DependsOn(prepared, args.ControlPlane.initialised))
	if err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}
