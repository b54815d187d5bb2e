package component

import (
	"context"
	"errors"
	"log/slog"

	"k8s.io/client-go/tools/cache"
)

// controllersHealth is where the probes of calico-kube-controllers ask, at the pod's own address.
const controllersHealth = ":9094"

// KubeControllers runs once in a cluster, as calico-kube-controllers. It watches the Nodes, says which
// join and leave, and is ready while it has them and the API server answers.
//
// Upstream's controllers of that name give back the addresses of nodes and pods that are gone, allocate
// addresses of load balancers, and make host endpoints. None of that is here to be done: the pod network
// of a node is Kubernetes' own allocation, which it takes back itself, and host-local on the node gives
// addresses out of it. What is real here is that a pod with the Deployment's name, tolerations and probes
// runs, on the pod network, and reaches the API server through its Service.
func KubeControllers(ctx context.Context) error {
	api, err := Connect()
	if err != nil {
		return err
	}
	_, informer := watch(api.nodes(), members())
	ready := func(ctx context.Context) error {
		if !informer.HasSynced() {
			return errors.New("the Nodes are not known yet")
		}
		return api.ready(ctx)
	}
	alive := func(context.Context) error { return nil }
	return serve(ctx, controllersHealth, probes{live: alive, ready: ready}, func(ctx context.Context) error {
		informer.RunWithContext(ctx)
		return ctx.Err()
	})
}

// members logs the Nodes that join and leave.
func members() cache.ResourceEventHandler {
	name := func(object any) string {
		key, _ := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		return key
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { slog.Info("a node is in the cluster", "node", name(object)) },
		DeleteFunc: func(object any) { slog.Info("a node has left", "node", name(object)) },
	}
}
