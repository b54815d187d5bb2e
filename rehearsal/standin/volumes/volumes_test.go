package volumes

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
	awsclient "eco2/rehearsal/cloud/client"
	"eco2/rehearsal/cloud/client/ebs"
	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/standin"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/charts/chartstest"
)

const repo = "../../.."

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, repo, &server) }

// timeout is how long a test waits for the controllers.
const timeout = 30 * time.Second

// faulty is an AWS in which a test can make operations fail.
type faulty struct {
	AWS
	mu     sync.Mutex
	errors map[string]*awsclient.Error
}

// fail makes all calls of an operation fail until succeed.
func (f *faulty) fail(target string, err awsclient.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors[target] = &err
}

func (f *faulty) succeed(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.errors, target)
}

func (f *faulty) Call(ctx context.Context, service, target string, in, out any) error {
	f.mu.Lock()
	err := f.errors[target]
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("calling %s: %w", target, err)
	}
	return f.AWS.Call(ctx, service, target, in, out)
}

// world is an account that is called with the role of the program's nodes, and a cluster with one of its machines.
type world struct {
	*awsapitest.World
	aws *faulty
	api *kubernetes.Clientset
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: awsapitest.New(t, repo)}
	w.aws = &faulty{AWS: w.Client, errors: map[string]*awsclient.Error{}}
	w.api = cluster(t, w.aws, w.Instances[1])
	return w
}

// volumes returns the volumes in the account.
func (w *world) volumes() []aws.Volume {
	w.Helper()
	all, err := w.Account.Volumes()
	require.NoError(w, err)
	return all
}

// cluster adds a node and the program's StorageClass to the API server, and runs the controller.
func cluster(t *testing.T, aws AWS, instance string) *kubernetes.Clientset {
	t.Helper()
	server.Need(t)
	api, err := server.Client()
	require.NoError(t, err)
	ctx := t.Context()
	_, err = api.CoreV1().Nodes().Create(ctx, node(instance), metav1.CreateOptions{})
	require.NoError(t, err)
	reclaim, binding := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingWaitForFirstConsumer
	_, err = api.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "gp3"}, Provisioner: Driver, ReclaimPolicy: &reclaim, VolumeBindingMode: &binding,
		Parameters: map[string]string{"type": "gp3", "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.Background()
		assert.NoError(t, api.CoreV1().Nodes().Delete(ctx, node(instance).Name, metav1.DeleteOptions{}))
		assert.NoError(t, api.StorageV1().StorageClasses().Delete(ctx, "gp3", metav1.DeleteOptions{}))
	})
	own := asController(t)
	running, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		newController(running, own, provisioner{kubernetes: own, aws: aws, cluster: awsapitest.Cluster}).Run(running)
	})
	t.Cleanup(func() { stop(); group.Wait() })
	return api
}

// asController returns a client with the permissions that the chart grants to the controller's service account.
func asController(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	scheme, err := standin.NewScheme()
	require.NoError(t, err)
	admin, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	embedded, err := charts.Embedded()
	require.NoError(t, err)
	for _, o := range chartstest.RBAC(chartstest.Objects(t, embedded, chartstest.Releases(t, repo, "dev")["aws-ebs-csi-driver"])) {
		require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), o)))
	}
	config.Impersonate.UserName = "system:serviceaccount:kube-system:ebs-csi-controller"
	own, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return own
}

func node(instance string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "k8s-monitoring", Labels: map[string]string{corev1.LabelHostname: "monitoring"}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///ap-northeast-2b/" + instance},
	}
}

// claim creates a claim with a selected node, as the scheduler sets it for the claim's pod.
func claim(t *testing.T, api *kubernetes.Clientset, name, size string, mode corev1.PersistentVolumeAccessMode) {
	t.Helper()
	class := "gp3"
	_, err := api.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"volume.kubernetes.io/selected-node": node("").Name}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

func unclaim(t *testing.T, api *kubernetes.Clientset, name string) {
	t.Helper()
	require.NoError(t, api.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// bound waits until a claim is bound and returns its volume.
func bound(t *testing.T, api *kubernetes.Clientset, name string) (volume *corev1.PersistentVolume) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || c.Status.Phase != corev1.ClaimBound {
			return false
		}
		volume, err = api.CoreV1().PersistentVolumes().Get(t.Context(), c.Spec.VolumeName, metav1.GetOptions{})
		return err == nil
	}, timeout, 20*time.Millisecond)
	return volume
}

// failed waits for an event about an object, with a reason and a part of the message.
func failed(t *testing.T, api *kubernetes.Clientset, reason, object, message string) {
	t.Helper()
	require.Eventually(t, func() bool {
		events, err := api.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + object + ",reason=" + reason})
		return err == nil && len(events.Items) > 0 && assert.Contains(t, events.Items[0].Message, message)
	}, timeout, 20*time.Millisecond)
}

func gone(t *testing.T, api *kubernetes.Clientset, volume string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := api.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, timeout, 20*time.Millisecond)
}

func TestClaimIsProvisioned(t *testing.T) {
	w := newWorld(t)
	claim(t, w.api, "data", "1500Mi", corev1.ReadWriteOnce)
	volume := bound(t, w.api, "data")

	created := w.volumes()
	require.Len(t, created, 1)
	assert.Equal(t, 2, created[0].SizeGiB, "gibibytes, rounded up")
	assert.Equal(t, "ap-northeast-2b", created[0].AvailabilityZone)
	assert.Equal(t, w.Instances[1], created[0].InstanceID)
	assert.Equal(t, map[string]string{
		"CSIVolumeName": volume.Name, "ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "eco2-dev",
		"kubernetes.io/cluster/eco2-dev": "owned", "kubernetes.io/created-for/pv/name": volume.Name,
		"kubernetes.io/created-for/pvc/name": "data", "kubernetes.io/created-for/pvc/namespace": "default",
	}, created[0].Tags)

	assert.Contains(t, volume.Finalizers, "external-provisioner.volume.kubernetes.io/finalizer")
	assert.Equal(t, Driver, volume.Annotations["pv.kubernetes.io/provisioned-by"])
	assert.Equal(t, corev1.PersistentVolumeReclaimDelete, volume.Spec.PersistentVolumeReclaimPolicy)
	id, err := volumeID(volume)
	require.NoError(t, err)
	assert.Equal(t, created[0].ID, id)
	assert.True(t, isOn(volume, "monitoring"))
	assert.False(t, isOn(volume, "k8s-monitoring"), "the label counts, not the node's name")

	unclaim(t, w.api, "data")
	gone(t, w.api, volume.Name)
	assert.Empty(t, w.volumes())
}

// A PersistentVolume exists until AWS has deleted its volume.
func TestFinalizerWaitsForAWS(t *testing.T) {
	w := newWorld(t)
	claim(t, w.api, "held", "1Gi", corev1.ReadWriteOnce)
	volume := bound(t, w.api, "held")
	w.aws.fail(ebs.DeleteVolume, awsclient.Error{Code: "RequestLimitExceeded"})
	unclaim(t, w.api, "held")
	failed(t, w.api, "VolumeFailedDelete", volume.Name, "RequestLimitExceeded")
	w.aws.succeed(ebs.DeleteVolume)
	gone(t, w.api, volume.Name)
	assert.Empty(t, w.volumes())
}

// A retry after a failed attachment creates no second volume.
func TestRetryCreatesNoSecondVolume(t *testing.T) {
	w := newWorld(t)
	w.aws.fail(ebs.AttachVolume, awsclient.Error{Code: "RequestLimitExceeded"})
	claim(t, w.api, "twice", "1Gi", corev1.ReadWriteOnce)
	failed(t, w.api, "ProvisioningFailed", "twice", "RequestLimitExceeded")
	w.aws.succeed(ebs.AttachVolume)
	volume := bound(t, w.api, "twice")
	assert.Len(t, w.volumes(), 1)
	unclaim(t, w.api, "twice")
	gone(t, w.api, volume.Name)
}

// A volume is deleted also if its claim is deleted while its provisioning fails.
func TestVolumeOfADroppedClaimIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.aws.fail(ebs.AttachVolume, awsclient.Error{Code: "RequestLimitExceeded"})
	claim(t, w.api, "dropped", "1Gi", corev1.ReadWriteOnce)
	failed(t, w.api, "ProvisioningFailed", "dropped", "RequestLimitExceeded")
	require.Len(t, w.volumes(), 1)
	unclaim(t, w.api, "dropped")
	require.Eventually(t, func() bool {
		_, err := w.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "dropped", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, timeout, 20*time.Millisecond)
	w.aws.succeed(ebs.AttachVolume)
	require.Eventually(t, func() bool { return len(w.volumes()) == 0 }, timeout, 20*time.Millisecond)
}

func TestClaimsThatEBSCannotServe(t *testing.T) {
	w := newWorld(t)
	claim(t, w.api, "shared", "1Gi", corev1.ReadWriteMany)
	failed(t, w.api, "ProvisioningFailed", "shared", "ReadWriteMany")
	assert.Empty(t, w.volumes())
	unclaim(t, w.api, "shared")
}

func TestCheck(t *testing.T) {
	assert.NoError(t, check(map[string]string{"type": "gp3", "encrypted": "true"}))
	assert.ErrorContains(t, check(map[string]string{"iops": "3000"}), "iops")
	assert.ErrorContains(t, check(map[string]string{"type": "io2"}), "io2")
}

func TestMachine(t *testing.T) {
	zone, instance, err := machine(node("i-0123"))
	require.NoError(t, err)
	assert.Equal(t, []string{"ap-northeast-2b", "i-0123"}, []string{zone, instance})
	_, _, err = machine(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "kind"}, Spec: corev1.NodeSpec{ProviderID: "kind://docker/kind"}})
	assert.ErrorContains(t, err, "kind://docker/kind")
}

// The pod of a node fails if it does not reach the metadata service, as upstream's does.
func TestNodeNeedsMetadata(t *testing.T) {
	none := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(none.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", none.URL)
	t.Setenv("NODE_NAME", "k8s-redis")
	assert.ErrorContains(t, Node(t.Context()), "reading the metadata of node k8s-redis: ")
}

// A node creates and removes the directories of its own volumes only.
func TestDirectories(t *testing.T) {
	root := t.TempDir()
	volumeOn := func(name, hostname string, policy corev1.PersistentVolumeReclaimPolicy) *corev1.PersistentVolume {
		n := node("i-0123")
		n.Labels[corev1.LabelHostname] = hostname
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: Driver}},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeReclaimPolicy: policy, NodeAffinity: affinityTo(n),
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path.Join(Root, "vol-"+name)}},
			},
		}
	}
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.PersistentVolume{}).WithObjects(
		volumeOn("here", "monitoring", corev1.PersistentVolumeReclaimDelete),
		volumeOn("kept", "monitoring", corev1.PersistentVolumeReclaimRetain),
		volumeOn("elsewhere", "storage", corev1.PersistentVolumeReclaimDelete),
	).Build()
	reconcileAll := func() (names []string) {
		for _, name := range []string{"here", "kept", "elsewhere"} {
			_, err := directories{cluster: c, hostname: "monitoring", root: root}.
				Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
			require.NoError(t, err)
		}
		entries, err := os.ReadDir(root)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	assert.Equal(t, []string{"vol-here", "vol-kept"}, reconcileAll())

	require.NoError(t, os.WriteFile(filepath.Join(root, "vol-here", "data"), []byte("x"), 0o600))
	assert.FileExists(t, filepath.Join(root, "vol-here", "data"))
	for _, name := range []string{"here", "kept"} {
		volume := &corev1.PersistentVolume{}
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, volume))
		volume.Status.Phase = corev1.VolumeReleased
		require.NoError(t, c.Status().Update(t.Context(), volume))
	}
	assert.Equal(t, []string{"vol-kept"}, reconcileAll())
}
