package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	storagev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/storage/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// storageClass declares the default storage class: encrypted gp3 volumes in the zone of the pod that first uses them. A
// cluster created with kubeadm has no storage class, and without one every claim would stay Pending.
func (p *platform) storageClass(ctx *pulumi.Context) (pulumi.Resource, error) {
	class, err := storagev1.NewStorageClass(ctx, "gp3", &storagev1.StorageClassArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:        pulumi.String("gp3"),
			Annotations: pulumi.StringMap{"storageclass.kubernetes.io/is-default-class": pulumi.String("true")},
		},
		Provisioner: pulumi.String("ebs.csi.aws.com"),
		Parameters: pulumi.StringMap{
			"type":                      pulumi.String("gp3"),
			"encrypted":                 pulumi.String("true"),
			"csi.storage.k8s.io/fstype": pulumi.String("ext4"),
		},
		VolumeBindingMode:    pulumi.String("WaitForFirstConsumer"),
		AllowVolumeExpansion: pulumi.Bool(true),
		// The driver deletes a volume with its claim. The sweep relies on that.
		ReclaimPolicy: pulumi.String("Delete"),
	}, p.objectOptions(p.cluster.Ready)...)
	if err != nil {
		return nil, fmt.Errorf("creating storage class gp3: %w", err)
	}
	p.all = append(p.all, class)
	return class, nil
}
