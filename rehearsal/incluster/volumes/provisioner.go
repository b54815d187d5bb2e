package volumes

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"eco2/rehearsal/awsapi/client"
)

// AWS is what a driver asks of it.
type AWS interface {
	Call(ctx context.Context, service, target string, in, out any) error
}

// provisioner has AWS make and delete the volumes of claims.
type provisioner struct {
	kubernetes kubernetes.Interface
	aws        AWS
	// cluster is whose volumes they are; it is in their tags.
	cluster string
}

var _ controller.Provisioner = provisioner{}

type tag struct{ Key, Value string }

// Provision makes the volume of a claim.
func (p provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	volume, err := p.provision(ctx, o)
	// A call that may have been heard is made again with the same token, so nothing goes on behind anybody's back.
	return volume, controller.ProvisioningFinished, err
}

func (p provisioner) provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, error) {
	if o.SelectedNodeName == "" {
		return nil, errors.New("the StorageClass binds at once, and a volume is made where its pod will be: set volumeBindingMode to WaitForFirstConsumer")
	}
	kind, encrypted, err := parameters(o.StorageClass.Parameters)
	if err != nil {
		return nil, fmt.Errorf("reading StorageClass %s: %w", o.StorageClass.Name, err)
	}
	size, err := gibibytes(o.PVC)
	if err != nil {
		return nil, err
	}
	node, err := p.kubernetes.CoreV1().Nodes().Get(ctx, o.SelectedNodeName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("looking for the chosen node: %w", err)
	}
	zone, instance, err := machine(node)
	if err != nil {
		return nil, err
	}
	id, err := p.create(ctx, o, createVolume{
		AvailabilityZone: zone, Size: size, VolumeType: kind, Encrypted: encrypted, ClientToken: o.PVName,
	})
	if err != nil {
		return nil, err
	}
	// Upstream's attacher does this when a pod comes. Here the data lies with the node from the beginning.
	attach := attachment{VolumeID: id, InstanceID: instance}
	if err := p.aws.Call(ctx, "ec2", "EC2.AttachVolume", attach, nil); err != nil {
		return nil, fmt.Errorf("attaching volume %s to %s: %w", id, instance, err)
	}
	filesystem := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    &filesystem,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size<<30, resource.BinarySI)},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path.Join(Root, id)}},
			NodeAffinity:                  on(node),
		},
	}, nil
}

type createVolume struct {
	AvailabilityZone, VolumeType, ClientToken string
	Size                                      int64
	Encrypted                                 bool
	Tags                                      []tag
}

type attachment struct {
	VolumeID   string `json:"VolumeId"`
	InstanceID string `json:"InstanceId,omitempty"`
}

// create has AWS make a volume with the tags by which people and policies know the cluster's.
func (p provisioner) create(ctx context.Context, o controller.ProvisionOptions, request createVolume) (id string, err error) {
	request.Tags = []tag{
		{"CSIVolumeName", o.PVName},
		{Driver + "/cluster", "true"},
		{Driver + "/cluster-name", p.cluster},
		{"kubernetes.io/cluster/" + p.cluster, "owned"},
		{"kubernetes.io/created-for/pv/name", o.PVName},
		{"kubernetes.io/created-for/pvc/name", o.PVC.Name},
		{"kubernetes.io/created-for/pvc/namespace", o.PVC.Namespace},
	}
	var made struct {
		VolumeID string `json:"VolumeId"`
	}
	if err := p.aws.Call(ctx, "ec2", "EC2.CreateVolume", request, &made); err != nil {
		return "", fmt.Errorf("making a volume of %d GiB in %s: %w", request.Size, request.AvailabilityZone, err)
	}
	return made.VolumeID, nil
}

// Delete deletes what a released PersistentVolume stands for. What is gone is deleted.
func (p provisioner) Delete(ctx context.Context, volume *corev1.PersistentVolume) error {
	id, err := volumeID(volume)
	if err != nil {
		return err
	}
	call := func(target string, settled ...string) error {
		err := p.aws.Call(ctx, "ec2", target, attachment{VolumeID: id}, nil)
		var refused *client.Error
		if errors.As(err, &refused) && slices.Contains(settled, refused.Code) {
			return nil
		}
		return err
	}
	// Its state is incorrect where it is attached to nothing.
	if err := call("EC2.DetachVolume", "InvalidVolume.NotFound", "IncorrectState"); err != nil {
		return fmt.Errorf("detaching volume %s: %w", id, err)
	}
	if err := call("EC2.DeleteVolume", "InvalidVolume.NotFound"); err != nil {
		return fmt.Errorf("deleting volume %s: %w", id, err)
	}
	return nil
}

// parameters reads a StorageClass's. What upstream would act on and this does not know is refused.
func parameters(given map[string]string) (kind string, encrypted bool, err error) {
	kind = "gp3"
	for key, value := range given {
		switch strings.ToLower(key) {
		case "type":
			kind = value
		case "encrypted":
			encrypted = value == "true"
		case "csi.storage.k8s.io/fstype": // there is no file system to make
		default:
			return "", false, fmt.Errorf("parameter %q is unknown here; type, encrypted and csi.storage.k8s.io/fstype are not", key)
		}
	}
	return kind, encrypted, nil
}

// gibibytes is how large a claim's volume will be, rounded up, once it is clear that it can be one of EBS's.
func gibibytes(claim *corev1.PersistentVolumeClaim) (int64, error) {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return 0, fmt.Errorf("an EBS volume is for one node, and the claim asks for %s", mode)
		}
	}
	if mode := claim.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return 0, fmt.Errorf("the claim asks for the volume mode %s, and here is no device, only a directory", *mode)
	}
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return (wanted.Value() + 1<<30 - 1) >> 30, nil
}
