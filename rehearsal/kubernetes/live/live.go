// Package live is a real cluster for the rehearsal's Kubernetes provider: objects go to the API server, and
// releases through Helm's own library.
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

	"eco2/rehearsal/kubernetes"
)

// answersWithin is how long an API server may take to answer before it counts as unreachable.
const answersWithin = 10 * time.Second

// The rates of requests that the real provider allows itself.
const (
	requestsPerSecond = 50
	requestsAtOnce    = 120
)

// Connector returns a kubernetes.Connect that reaches the API server of an endpoint. What it learns of a
// cluster it keeps for the next connection.
func Connector() kubernetes.Connect {
	var mu sync.Mutex
	clusters := map[kubernetes.Endpoint]*Cluster{}
	cluster := func(endpoint kubernetes.Endpoint) (*Cluster, error) {
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
	return func(ctx context.Context, endpoint kubernetes.Endpoint) (kubernetes.Cluster, error) {
		c, err := cluster(endpoint)
		if err != nil {
			return nil, err
		}
		return c, c.answers(ctx)
	}
}

// Cluster is what an API server serves. It implements kubernetes.Cluster.
type Cluster struct {
	config    *rest.Config
	discovery *discovery.DiscoveryClient
	objects   dynamic.Interface
	// client is the kubeconfig with a namespace for what names none, and namespace the one that it has itself.
	client    func(namespace string) clientcmd.ClientConfig
	namespace string
	// mapper knows the kinds that were served when it was asked for one that it did not know.
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// errCredentials says no more than this: the reason may quote the kubeconfig.
var errCredentials = errors.New("the kubeconfig's context names no cluster or user that can be used")

func newCluster(endpoint kubernetes.Endpoint) (*Cluster, error) {
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
	c.config.QPS, c.config.Burst = requestsPerSecond, requestsAtOnce
	c.config.WarningHandler = rest.NoWarnings{} // there is nobody to read them
	if c.discovery, err = discovery.NewDiscoveryClientForConfig(c.config); err != nil {
		return nil, errCredentials
	}
	if c.objects, err = dynamic.NewForConfig(c.config); err != nil {
		return nil, errCredentials
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.discovery))
	return c, nil
}

// answers says whether the API server does, and to these credentials.
func (c *Cluster) answers(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, answersWithin)
	defer stop()
	// What it serves, it tells those whom it knows.
	err := c.discovery.RESTClient().Get().AbsPath("/api").Do(ctx).Error()
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return errors.New("the API server does not accept the kubeconfig's credentials")
	}
	return err
}

// resource is where an object's kind is served.
func (c *Cluster) resource(ref kubernetes.Ref) (dynamic.ResourceInterface, error) {
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("reading the apiVersion of %s: %w", ref, err)
	}
	kind := version.WithKind(ref.Kind)
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		// Its definition may be newer than what is known.
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	served := c.objects.Resource(mapping.Resource)
	switch {
	case mapping.Scope.Name() == meta.RESTScopeNameRoot && ref.Namespace != "":
		return nil, fmt.Errorf("a %s belongs to no namespace, and %s is given one", ref.Kind, ref.Name)
	case mapping.Scope.Name() == meta.RESTScopeNameRoot:
		return served, nil
	case ref.Namespace == "":
		return served.Namespace(c.namespace), nil
	default:
		return served.Namespace(ref.Namespace), nil
	}
}
