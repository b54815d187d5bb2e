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

	"eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/awsapi/ebs"
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

// Provision makes the volume of a claim.
func (p provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("the StorageClass binds at once, and a volume is made where its pod will be: set volumeBindingMode to WaitForFirstConsumer")
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
		return nil, controller.ProvisioningFinished, fmt.Errorf("looking for the chosen node: %w", err)
	}
	zone, instance, err := machine(node)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// From here on there may be a volume. It is asked for again, with the same token, also when nobody claims it any
	// more: what is known can be deleted.
	made, err := p.create(ctx, o, ebs.NewVolume{ClientToken: o.PVName, AvailabilityZone: zone, Size: size})
	if err != nil {
		return nil, controller.ProvisioningInBackground, err
	}
	// Upstream's attacher does this when a pod comes. Here the data lies with the node from the beginning. It is so
	// already where somebody did not live to say so.
	if made.InstanceID != instance {
		err := p.aws.Call(ctx, ebs.Service, ebs.AttachVolume, ebs.Attachment{VolumeID: made.VolumeID, InstanceID: instance}, nil)
		if err != nil {
			return nil, controller.ProvisioningInBackground, fmt.Errorf("attaching volume %s to %s: %w", made.VolumeID, instance, err)
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
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path.Join(Root, made.VolumeID)}},
			NodeAffinity:                  on(node),
		},
	}, controller.ProvisioningFinished, nil
}

// create has AWS make a volume with the tags by which people and policies know the cluster's.
func (p provisioner) create(ctx context.Context, o controller.ProvisionOptions, request ebs.NewVolume) (made ebs.Volume, err error) {
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
	if err := p.aws.Call(ctx, ebs.Service, ebs.CreateVolume, request, &made); err != nil {
		return made, fmt.Errorf("making a volume of %d GiB in %s: %w", request.Size, request.AvailabilityZone, err)
	}
	return made, nil
}

// Delete deletes what a released PersistentVolume stands for. What is gone is deleted.
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

// check refuses what upstream would act on and this does not know. Whether a volume is encrypted and of which type is
// said nowhere but in the class: the rehearsal's AWS has one kind.
func check(parameters map[string]string) error {
	for key, value := range parameters {
		switch strings.ToLower(key) {
		case "type":
			if value != "gp3" {
				return fmt.Errorf("type is %q, and the rehearsal has only gp3", value)
			}
		case "encrypted", "csi.storage.k8s.io/fstype":
		default:
			return fmt.Errorf("parameter %q is unknown here; type, encrypted and csi.storage.k8s.io/fstype are not", key)
		}
	}
	return nil
}

// gibibytes is how large a claim's volume will be, rounded up, once it is clear that it can be one of EBS's.
func gibibytes(claim *corev1.PersistentVolumeClaim) (int, error) {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return 0, fmt.Errorf("an EBS volume is for one node, and the claim asks for %s", mode)
		}
	}
	if mode := claim.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return 0, fmt.Errorf("the claim asks for the volume mode %s, and here is no device, only a directory", *mode)
	}
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return int((wanted.Value() + 1<<30 - 1) >> 30), nil
}
