package volumes

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	awsclient "eco2/rehearsal/cloud/client"
	"eco2/rehearsal/standin"
)

// A failed claim is retried after retryFirst. The delay doubles each time, up to retryLast.
const (
	retryFirst = time.Second
	retryLast  = 30 * time.Second
)

// Controller runs the stand-in for ebs-csi-controller and its provisioner; one per cluster is active. cluster is the
// cluster's name for the volumes' tags, which the chart's value controller.k8sTagClusterId sets.
func Controller(ctx context.Context, cluster string) error {
	aws, err := awsclient.New(ctx)
	if err != nil {
		return err
	}
	options := manager.Options{LeaderElection: true, LeaderElectionID: "ebs-csi-aws-com"}
	return standin.Run(ctx, options, func(m manager.Manager) error {
		api, err := kubernetes.NewForConfigAndClient(m.GetConfig(), m.GetHTTPClient())
		if err != nil {
			return fmt.Errorf("preparing the client: %w", err)
		}
		provisions := newController(ctx, api, provisioner{kubernetes: api, aws: aws, cluster: cluster})
		return m.Add(manager.RunnableFunc(func(ctx context.Context) error {
			provisions.Run(ctx)
			return nil
		}))
	})
}

func newController(ctx context.Context, api kubernetes.Interface, p provisioner) *controller.ProvisionController {
	return controller.NewProvisionController(ctx, api, Driver, p,
		controller.LeaderElection(false), // the manager does it
		controller.AddFinalizer(true),
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryLast)),
		// Retry without limit: an abandoned volume would look like one that is still being created.
		controller.FailedProvisionThreshold(0), controller.FailedDeleteThreshold(0),
	)
}

// nodeProbes is the address for the kubelet's probes of ebs-csi-node, with upstream's port, which has to be free on the
// machine because the pod is on the host's network.
const nodeProbes = ":9808"

// Node runs the stand-in for ebs-csi-node, which creates and removes the directories of one node's volumes. Like
// upstream's in a cluster without AWS's cloud controller, it needs the metadata service.
func Node(ctx context.Context) error {
	node := os.Getenv("NODE_NAME")
	if node == "" {
		return fmt.Errorf("NODE_NAME is empty: set it to the name of the pod's node")
	}
	if _, err := imds.New(imds.Options{}).GetRegion(ctx, nil); err != nil {
		return fmt.Errorf("reading the metadata of node %s: %w", node, err)
	}
	scheme, err := standin.NewScheme(corev1.AddToScheme)
	if err != nil {
		return err
	}
	options := manager.Options{Scheme: scheme, HealthProbeBindAddress: nodeProbes}
	return standin.Run(ctx, options, func(m manager.Manager) error {
		found := &corev1.Node{}
		if err := m.GetAPIReader().Get(ctx, client.ObjectKey{Name: node}, found); err != nil {
			return fmt.Errorf("looking for this node: %w", err)
		}
		return builder.ControllerManagedBy(m).Named("directories").For(&corev1.PersistentVolume{}).
			Complete(directories{cluster: m.GetClient(), hostname: found.Labels[corev1.LabelHostname], root: Root})
	})
}
