// Package live implements the cluster of the rehearsal's Kubernetes provider with a real one: it applies objects
// through the API server and installs releases with Helm's library.
package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"eco2/rehearsal/cluster/provider"
)

// requestTimeout is how long an API server may take to answer before it counts as unreachable.
const requestTimeout = 10 * time.Second

// The client's rate limits, which are those of the real provider.
const (
	requestsPerSecond = 50
	requestBurst      = 120
)

// Connector returns a provider.Connect that connects to the API server of an endpoint. Connections to the same
// endpoint share one Cluster, and so its discovery cache.
func Connector() provider.Connect {
	var mu sync.Mutex
	clusters := map[provider.Endpoint]*Cluster{}
	cluster := func(endpoint provider.Endpoint) (*Cluster, error) {
		mu.Lock()
		defer mu.Unlock()
		c, known := clusters[endpoint]
		if !known {
			var err error
			if c, err = newCluster(endpoint); err != nil {
				return nil, err
			}
			clusters[endpoint] = c
		}
		return c, nil
	}
	return func(ctx context.Context, endpoint provider.Endpoint) (provider.Cluster, error) {
		c, err := cluster(endpoint)
		if err != nil {
			return nil, err
		}
		return c, c.ping(ctx)
	}
}

// Cluster implements provider.Cluster with the API server of a real cluster.
type Cluster struct {
	config    *rest.Config
	discovery *discovery.DiscoveryClient
	objects   dynamic.Interface
	// client returns the kubeconfig with another default namespace.
	client func(namespace string) clientcmd.ClientConfig
	// namespace is the kubeconfig's own default namespace.
	namespace string
	// mapper caches the served kinds. resource resets it when it asks for a kind that is not among them.
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// errCredentials does not wrap the reason, which may quote the kubeconfig.
var errCredentials = errors.New("the kubeconfig's context names no cluster or user that can be used")

func newCluster(endpoint provider.Endpoint) (*Cluster, error) {
	kubeconfig, err := clientcmd.Load([]byte(endpoint.Kubeconfig))
	if err != nil {
		return nil, errCredentials
	}
	c := &Cluster{namespace: endpoint.Namespace}
	c.client = func(namespace string) clientcmd.ClientConfig {
		overrides := &clientcmd.ConfigOverrides{}
		overrides.Context.Cluster, overrides.Context.Namespace = endpoint.Cluster, namespace
		return clientcmd.NewNonInteractiveClientConfig(*kubeconfig, endpoint.Context, overrides, nil)
	}
	if c.namespace == "" {
		c.namespace = "default"
	}
	if c.config, err = c.client(c.namespace).ClientConfig(); err != nil {
		return nil, errCredentials
	}
	c.config.QPS, c.config.Burst = requestsPerSecond, requestBurst
	c.config.WarningHandler = rest.NoWarnings{} // nobody reads this process's log
	if c.discovery, err = discovery.NewDiscoveryClientForConfig(c.config); err != nil {
		return nil, errCredentials
	}
	if c.objects, err = dynamic.NewForConfig(c.config); err != nil {
		return nil, errCredentials
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.discovery))
	return c, nil
}

// ping checks that the API server answers and accepts the kubeconfig's credentials.
func (c *Cluster) ping(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	// /api lists the served versions to authenticated clients only.
	err := c.discovery.RESTClient().Get().AbsPath("/api").Do(ctx).Error()
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return errors.New("the API server does not accept the kubeconfig's credentials")
	}
	return err
}

// resource returns the client for an object's kind and namespace.
func (c *Cluster) resource(ref provider.Ref) (dynamic.ResourceInterface, error) {
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("reading the apiVersion of %s: %w", ref, err)
	}
	kind := version.WithKind(ref.Kind)
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		// The kind's definition may be newer than the cache.
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	served := c.objects.Resource(mapping.Resource)
	switch {
	case mapping.Scope.Name() == meta.RESTScopeNameRoot && ref.Namespace != "":
		return nil, fmt.Errorf("a %s is cluster-scoped, but %s has a namespace: remove it", ref.Kind, ref.Name)
	case mapping.Scope.Name() == meta.RESTScopeNameRoot:
		return served, nil
	case ref.Namespace == "":
		return served.Namespace(c.namespace), nil
	default:
		return served.Namespace(ref.Namespace), nil
	}
}
