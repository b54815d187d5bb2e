package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
	"eco2/infra"
)

// worker is a node that joins the cluster. If it alone is removed, it is drained and leaves the cluster first.
type worker struct {
	pulumi.ResourceState

	// member is the node's membership in the cluster: its create script joins the node, its delete script removes it.
	member *remote.Command
}

// newWorker declares a worker on a machine.
func newWorker(ctx *pulumi.Context, node *infra.Node, c config.Config, control *controlPlane, vpc *ec2.Vpc, opts ...pulumi.ResourceOption) (*worker, error) {
	w := &worker{}
	host := control.host
	if err := ctx.RegisterComponentResource("eco2:cluster:Worker", node.Name, w, opts...); err != nil {
		return nil, fmt.Errorf("registering worker %s: %w", node.Name, err)
	}
	parent := pulumi.Parent(w)

	prepared, err := host.prepare(ctx, node, c.Versions, parent)
	if err != nil {
		return nil, err
	}

	// The script creates a token and uses it at once. A token from a separate resource would be stored in the state, and
	// would have expired when a failed update is run again the next day.
	join := Script{Name: "join", Args: joinArgs(
		Flag("node", pulumi.String(node.Name)),
		Flag("address", node.PrivateIP),
		Flag("user", pulumi.String(c.SSH.User)),
		Flag("endpoint", pulumi.Sprintf("%s:6443", host.node.PrivateIP)),
		Flag("provider-id", node.ProviderID()),
		labelAndTaintFlags(node),
	), Data: c.SSH.PrivateKey, Minutes: 15,
		// If this node's machine is replaced, the old one leaves the cluster before it is terminated. If the control
		// plane's machine is replaced, every worker only joins again: leaving would drain all nodes of a cluster that no
		// longer exists.
		Triggers: []*infra.Node{node}, UpdateTrigger: host.node.Instance.ID()}
	// The provider ID says which machine must leave: if AWS took the machine away, another one may have its name by now.
	leave := Script{Name: "leave", Args: joinArgs(
		Flag("node", pulumi.String(node.Name)),
		Flag("provider-id", node.ProviderID()),
	)}
	w.member, err = host.RunAndUndo(ctx, "member-"+node.Name, join, leave, parent,
		// Removing one node drains it, but destroying the whole cluster must not drain every node. If the VPC is deleted,
		// the whole cluster is.
		pulumi.DeletedWith(vpc),
		// If the node left only after the new machine had joined, the new one would be drained.
		pulumi.DeleteBeforeReplace(true),
		// Earlier versions of the program had a separate command for leaving. Without this alias it would be deleted as
		// another resource, and drain the node.
		pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String("leave-" + node.Name)}}),
		pulumi.DependsOn([]pulumi.Resource{prepared, control.initialised}))
	if err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}
