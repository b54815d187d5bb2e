package volumes

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"eco2/rehearsal/cloud/client"
	"eco2/rehearsal/cloud/client/ebs"
)

// AWS calls the AWS API. The driver uses EC2's volume operations only.
type AWS interface {
	Call(ctx context.Context, service, target string, in, out any) error
}

// provisioner creates and deletes the claims' volumes in AWS.
type provisioner struct {
	kubernetes kubernetes.Interface
	aws        AWS
	// cluster is the name of the cluster for the volumes' tags; may be empty.
	cluster string
}

var _ controller.Provisioner = provisioner{}

// Provision creates the volume of a claim and attaches it to the node that the scheduler chose.
func (p provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("the StorageClass binds claims immediately, but the volume must be created in the zone of its pod: set volumeBindingMode to WaitForFirstConsumer")
	}
	if err := check(o.StorageClass.Parameters); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("reading StorageClass %s: %w", o.StorageClass.Name, err)
	}
	size, err := gibibytes(o.PVC)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	node, err := p.kubernetes.CoreV1().Nodes().Get(ctx, o.SelectedNodeName, metav1.GetOptions{})
	if err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("reading the selected node: %w", err)
	}
	zone, instance, err := machine(node)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// From here on there may be a volume, so an error must be ProvisioningInBackground: the library then calls
	// Provision again, which uses the same token, even if the claim was deleted. Once it succeeds, the volume can be
	// deleted.
	created, err := p.create(ctx, o, ebs.NewVolume{ClientToken: o.PVName, AvailabilityZone: zone, Size: size})
	if err != nil {
		return nil, controller.ProvisioningInBackground, err
	}
	// Upstream's attacher attaches a volume when a pod uses it. Here the data are on the node from the beginning. The
	// volume may be attached already if an earlier call was interrupted after that.
	if created.InstanceID != instance {
		err := p.aws.Call(ctx, ebs.Service, ebs.AttachVolume, ebs.Attachment{VolumeID: created.VolumeID, InstanceID: instance}, nil)
		if err != nil {
			return nil, controller.ProvisioningInBackground, fmt.Errorf("attaching volume %s to %s: %w", created.VolumeID, instance, err)
		}
	}
	filesystem := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    &filesystem,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(int64(size)<<30, resource.BinarySI)},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path.Join(Root, created.VolumeID)}},
			NodeAffinity:                  affinityTo(node),
		},
	}, controller.ProvisioningFinished, nil
}

// create creates a volume with upstream's tags, by which people and IAM policies recognize the cluster's volumes.
func (p provisioner) create(ctx context.Context, o controller.ProvisionOptions, request ebs.NewVolume) (created ebs.Volume, err error) {
	request.Tags = map[string]string{
		"CSIVolumeName":                           o.PVName,
		Driver + "/cluster":                       "true",
		"kubernetes.io/created-for/pv/name":       o.PVName,
		"kubernetes.io/created-for/pvc/name":      o.PVC.Name,
		"kubernetes.io/created-for/pvc/namespace": o.PVC.Namespace,
	}
	if p.cluster != "" {
		request.Tags[Driver+"/cluster-name"] = p.cluster
		request.Tags["kubernetes.io/cluster/"+p.cluster] = "owned"
	}
	if err := p.aws.Call(ctx, ebs.Service, ebs.CreateVolume, request, &created); err != nil {
		return created, fmt.Errorf("creating a volume of %d GiB in %s: %w", request.Size, request.AvailabilityZone, err)
	}
	return created, nil
}

// Delete detaches and deletes the EBS volume of a released PersistentVolume. It succeeds if the volume does not exist.
func (p provisioner) Delete(ctx context.Context, volume *corev1.PersistentVolume) error {
	id, err := volumeID(volume)
	if err != nil {
		return err
	}
	var found ebs.Volumes
	err = p.aws.Call(ctx, ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{VolumeIDs: []string{id}}, &found)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Code == "InvalidVolume.NotFound" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for volume %s: %w", id, err)
	}
	for _, v := range found.Volumes {
		if v.InstanceID != "" {
			err := p.aws.Call(ctx, ebs.Service, ebs.DetachVolume, ebs.Attachment{VolumeID: id, InstanceID: v.InstanceID}, nil)
			if err != nil {
				return fmt.Errorf("detaching volume %s: %w", id, err)
			}
		}
		if err := p.aws.Call(ctx, ebs.Service, ebs.DeleteVolume, ebs.VolumeID{VolumeID: id}, nil); err != nil {
			return fmt.Errorf("deleting volume %s: %w", id, err)
		}
	}
	return nil
}

// check rejects parameters of a StorageClass on which upstream would act but the stand-in does not. It does not pass
// type and encrypted on to AWS: the rehearsal's AWS has only one kind of volume.
func check(parameters map[string]string) error {
	for key, value := range parameters {
		switch strings.ToLower(key) {
		case "type":
			if value != "gp3" {
				return fmt.Errorf("type is %q, but the rehearsal supports gp3 only", value)
			}
		case "encrypted", "csi.storage.k8s.io/fstype":
		default:
			return fmt.Errorf("the rehearsal does not support parameter %q, only type, encrypted and csi.storage.k8s.io/fstype", key)
		}
	}
	return nil
}

// gibibytes returns the size of a claim's volume in GiB, rounded up. It returns an error if EBS cannot serve the claim.
func gibibytes(claim *corev1.PersistentVolumeClaim) (int, error) {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return 0, fmt.Errorf("the claim has access mode %s, but an EBS volume can be used on one node only", mode)
		}
	}
	if mode := claim.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return 0, fmt.Errorf("the claim has volume mode %s, but the rehearsal's volumes are directories, not devices", *mode)
	}
	request := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return int((request.Value() + 1<<30 - 1) >> 30), nil
}
