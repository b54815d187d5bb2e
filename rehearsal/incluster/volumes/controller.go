package volumes

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	awsclient "eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/incluster"
)

// A claim that failed is tried again after a second, then after twice as long each time, up to half a minute.
const (
	retryFirst = time.Second
	retryLast  = 30 * time.Second
)

// Controller provisions, once in a cluster, as ebs-csi-controller with its provisioner. cluster is the name in the
// volumes' tags, which the chart's controller.k8sTagClusterId gives.
func Controller(ctx context.Context, cluster string) error {
	aws, err := awsclient.New(ctx)
	if err != nil {
		return err
	}
	options := manager.Options{LeaderElection: true, LeaderElectionID: "ebs-csi-aws-com"}
	return incluster.Run(ctx, options, func(m manager.Manager) error {
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
		controller.LeaderElection(false), // the one who runs it has it
		controller.AddFinalizer(true),
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryLast)),
		// Until it works: a volume that nobody tries to make any more looks like one that is being made.
		controller.FailedProvisionThreshold(0), controller.FailedDeleteThreshold(0),
	)
}

// Node keeps the directories of one node's volumes, as ebs-csi-node.
func Node(ctx context.Context) error {
	node := os.Getenv("NODE_NAME")
	if node == "" {
		return fmt.Errorf("NODE_NAME is empty: which node's directories are to be kept?")
	}
	kinds, err := incluster.Kinds(corev1.AddToScheme)
	if err != nil {
		return err
	}
	return incluster.Run(ctx, manager.Options{Scheme: kinds}, func(m manager.Manager) error {
		found := &corev1.Node{}
		if err := m.GetAPIReader().Get(ctx, client.ObjectKey{Name: node}, found); err != nil {
			return fmt.Errorf("looking for this node: %w", err)
		}
		return builder.ControllerManagedBy(m).Named("directories").For(&corev1.PersistentVolume{}).
			Complete(directories{cluster: m.GetClient(), hostname: found.Labels[corev1.LabelHostname], root: Root})
	})
}
