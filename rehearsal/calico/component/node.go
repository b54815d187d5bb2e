package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"eco2/rehearsal/calico/vxlan"
)

const (
	// refresh is how often the kernel is looked at though no Node changed, as often as Felix does.
	refresh = 90 * time.Second
	// retry is the pause after something failed.
	retry = 2 * time.Second
	// stuck is how long one pass may take; after that the kubelet is to start the container again.
	stuck = 5 * time.Minute
	// nodeHealth is where Felix tells whether it lives and is ready. Pods share the port with their node.
	nodeHealth = "127.0.0.1:9099"
)

// Node runs on each node what the container calico-node does: it leads to the pods of all other nodes, and
// follows as nodes come, change and go. It ends with ctx, and leaves the kernel as it is, so that pods
// stay connected while it is replaced.
func Node(ctx context.Context) error {
	s, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	api, err := Connect()
	if err != nil {
		return err
	}
	slog.Info("connecting the pods of this node", "node", s.node, "pool", s.plane.Pool, "crossSubnet", s.plane.CrossSubnet)
	a := newAgent(s.node, s.plane.Program, func(ctx context.Context) error { return api.reportNetwork(ctx, s.node) })
	return serve(ctx, nodeHealth, probes{live: a.passes.live, ready: a.passes.ready}, func(ctx context.Context) error {
		return a.run(ctx, api.nodes())
	})
}

// agent keeps the data plane of one node as the cluster's Nodes say.
type agent struct {
	node    string
	program func(self vxlan.Node, others []vxlan.Node) error
	report  func(ctx context.Context) error
	passes  *passes
	// changed has room for one: several changes at once are one pass.
	changed chan struct{}
	retry   time.Duration
}

func newAgent(node string, program func(vxlan.Node, []vxlan.Node) error, report func(context.Context) error) *agent {
	return &agent{
		node: node, program: program, report: report, retry: retry,
		passes:  &passes{last: errors.New("the Nodes are not known yet")},
		changed: make(chan struct{}, 1),
	}
}

func (a *agent) run(ctx context.Context, nodes cache.ListerWatcher) error {
	store, informer := watch(nodes, onChange(a.wake))
	go informer.RunWithContext(ctx)
	// Before all Nodes are known, those that are not would be taken for deleted.
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	var told string
	for {
		a.passes.begin()
		err := a.pass(ctx, store)
		a.passes.end(err)
		// The same outcome again and again is told once.
		if outcome := fmt.Sprint(len(store.ListKeys()), err); outcome != told {
			told = outcome
			if err != nil {
				slog.Error("pods of this node are not fully connected, trying again", "error", err)
			} else {
				slog.Info("connected", "nodes", len(store.ListKeys()))
			}
		}
		pause := refresh
		if err != nil {
			pause = a.retry
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.changed:
		case <-time.After(pause):
		}
	}
}

func (a *agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
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
