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

	joined *remote.Command
}

// NewWorker declares a worker on a machine.
func NewWorker(ctx *pulumi.Context, host *Host, c config.Config, control *ControlPlane, vpc *ec2.Vpc, opts ...pulumi.ResourceOption) (*Worker, error) {
	w := &Worker{}
	node, first := host.node, control.host
	if err := ctx.RegisterComponentResource("eco2:cluster:Worker", node.Name, w, opts...); err != nil {
		return nil, fmt.Errorf("registering worker %s: %w", node.Name, err)
	}
	parent := pulumi.Parent(w)

	prepared, err := host.prepare(ctx, c.Versions, parent)
	if err != nil {
		return nil, err
	}

	// The join runs on the control plane, which mints a token and carries it to the worker in one go. A
	// token from a resource of its own would be kept in the state, and would have expired when an update
	// that failed is run again the next day.
	w.joined, err = first.Run(ctx, "join-"+node.Name, Script{Name: "join", Args: flags(
		Flag("node", pulumi.String(node.Name)),
		Flag("address", node.PrivateIP),
		Flag("user", pulumi.String(host.ssh.User)),
		Flag("endpoint", pulumi.Sprintf("%s:6443", first.node.PrivateIP)),
		Flag("provider-id", node.ProviderID()),
		marks(node),
	), Data: host.ssh.PrivateKey, Minutes: 15, For: []*infra.Node{node, first.node}}, parent,
		// A machine that is gone needs no reset, and its replacement joins anew.
		pulumi.DeletedWith(node.Instance),
		pulumi.DependsOn([]pulumi.Resource{prepared, control.initialised}))
	if err != nil {
		return nil, err
	}

	_, err = first.RunOnDelete(ctx, "leave-"+node.Name, Script{
		// The provider ID says which machine is to leave: when AWS took one away, the engine deletes its leave
		// after the successor has joined under the same name.
		Name: "leave", Args: flags(
			Flag("node", pulumi.String(node.Name)),
			Flag("provider-id", node.ProviderID()),
		), Minutes: 5,
		// Another machine under this name is another member: the old one leaves before it is terminated. Not
		// so for another control plane, which would drain every worker of a cluster that is gone.
		For: []*infra.Node{node},
	}, parent,
		// Removing one node drains it; removing the whole cluster does not, and the network's end is
		// what tells the two apart.
		pulumi.DeletedWith(vpc),
		// Leaving after the new machine joined would drain the new one.
		pulumi.DeleteBeforeReplace(true),
		pulumi.DependsOn([]pulumi.Resource{w.joined}))
	if err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}
