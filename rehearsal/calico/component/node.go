package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"eco2/rehearsal/calico/endpoint"
	"eco2/rehearsal/calico/policy"
	"eco2/rehearsal/calico/vxlan"
)

// nodeHealth is where Felix tells whether it lives and is ready. Pods share the port with their node.
const nodeHealth = "127.0.0.1:9099"

// Node runs on each node what the container calico-node does: it leads to the pods of all other nodes and
// enforces NetworkPolicies on its own, and follows as nodes, pods and policies come, change and go. It is
// ready when both are done. It ends with ctx, and leaves the kernel as it is, so that pods stay connected, and
// closed, while it is replaced.
func Node(ctx context.Context) error {
	s, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	api, err := Connect()
	if err != nil {
		return err
	}
	endpoints, err := endpoint.Listen(endpoint.Socket)
	if err != nil {
		return err
	}
	slog.Info("connecting the pods of this node", "node", s.node, "pool", s.plane.Pool, "crossSubnet", s.plane.CrossSubnet)
	a := newAgent(s.node, s.plane.Program, func(ctx context.Context) error { return api.reportNetwork(ctx, s.node) })
	e := newEnforcer(policy.Ruleset.Program)
	both := func(one, other func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error { return errors.Join(one(ctx), other(ctx)) }
	}
	return serve(ctx, nodeHealth, probes{
		live:  both(a.passes.live, e.passes.live),
		ready: both(a.passes.ready, e.passes.ready),
	}, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return a.run(ctx, api.nodes()) })
		group.Go(func() error {
			// The network of its pods is a node's for life.
			self, err := api.awaitNode(ctx, s.node)
			if err != nil {
				return err
			}
			return e.run(ctx, self.PodCIDR, api.policies())
		})
		group.Go(func() error { return endpoint.Serve(ctx, endpoints, e.enforce) })
		return group.Wait()
	})
}

// agent keeps the data plane of one node as the cluster's Nodes say.
type agent struct {
	*loop
	node    string
	program func(self vxlan.Node, others []vxlan.Node) error
	report  func(ctx context.Context) error
}

func newAgent(node string, program func(vxlan.Node, []vxlan.Node) error, report func(context.Context) error) *agent {
	return &agent{newLoop("connecting the pods of this node", "the Nodes are not known yet"), node, program, report}
}

func (a *agent) run(ctx context.Context, nodes cache.ListerWatcher) error {
	store, informer := watch(nodes, onChange(a.wake))
	go informer.RunWithContext(ctx)
	// Before all Nodes are known, those that are not would be taken for deleted.
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	return a.loop.run(ctx, func(ctx context.Context) (string, error) {
		return fmt.Sprintf("connected, nodes: %d", len(store.ListKeys())), a.pass(ctx, store)
	})
}

// pass brings the data plane and the node's condition to what the store says, once.
func (a *agent) pass(ctx context.Context, store cache.Store) error {
	object, found, err := store.GetByKey(a.node)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("there is no Node %s", a.node)
	}
	node := object.(*corev1.Node)
	self, err := describe(node)
	if err != nil {
		return err
	}
	var others []vxlan.Node
	for _, object := range store.List() {
		other, err := describe(object.(*corev1.Node))
		if other.Name == a.node || err != nil {
			continue // a Node that has no pods yet; its change wakes us
		}
		others = append(others, other)
	}
	if err := a.program(self, others); err != nil {
		return err
	}
	if networkReported(node) {
		return nil
	}
	return a.report(ctx)
}
