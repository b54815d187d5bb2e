package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
	"eco2/infra"
)

// Worker is a node that joins the control plane, and that leaves it in order when it alone is removed.
type Worker struct {
	pulumi.ResourceState

	// member is the node's membership in the cluster: made by a join, ended by leaving.
	member *remote.Command
}

// NewWorker declares a worker on a machine.
func NewWorker(ctx *pulumi.Context, node *infra.Node, c config.Config, control *ControlPlane, vpc *ec2.Vpc, opts ...pulumi.ResourceOption) (*Worker, error) {
	w := &Worker{}
	host := control.host
	if err := ctx.RegisterComponentResource("eco2:cluster:Worker", node.Name, w, opts...); err != nil {
		return nil, fmt.Errorf("registering worker %s: %w", node.Name, err)
	}
	parent := pulumi.Parent(w)

	prepared, err := host.prepare(ctx, node, c.Versions, parent)
	if err != nil {
		return nil, err
	}

	// The control plane mints a token and carries it to the worker in one go. A token from a resource of its
	// own would be kept in the state, and would have expired when an update that failed is run again the next day.
	join := Script{Name: "join", Args: flags(
		Flag("node", pulumi.String(node.Name)),
		Flag("address", node.PrivateIP),
		Flag("user", pulumi.String(c.SSH.User)),
		Flag("endpoint", pulumi.Sprintf("%s:6443", host.node.PrivateIP)),
		Flag("provider-id", node.ProviderID()),
		marks(node),
	), Data: c.SSH.PrivateKey, Minutes: 15,
		// Another machine under this name is another member: the old one leaves before it is terminated. Not
		// so for another control plane, which every worker joins: to leave would drain all of a cluster that is gone.
		For: []*infra.Node{node}, On: host.node.Instance.ID()}
	// The provider ID says which machine is to leave: one that AWS took away may have a successor of its name.
	leave := Script{Name: "leave", Args: flags(
		Flag("node", pulumi.String(node.Name)),
		Flag("provider-id", node.ProviderID()),
	)}
	w.member, err = host.RunAndUndo(ctx, "member-"+node.Name, join, leave, parent,
		// Removing one node drains it; removing the whole cluster does not, and the network's end is
		// what tells the two apart.
		pulumi.DeletedWith(vpc),
		// Leaving after the new machine joined would drain the new one.
		pulumi.DeleteBeforeReplace(true),
		// A state of an older program has a command for leaving alone. As another resource it would be deleted,
		// and drain the node.
		pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String("leave-" + node.Name)}}),
		pulumi.DependsOn([]pulumi.Resource{prepared, control.initialised}))
	if err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}
