package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	storagev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/storage/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// storageClass is the default class: an encrypted gp3 volume in the zone of the pod that first uses it.
// Without a class every claim would stay Pending: nothing brings one to a cluster made with kubeadm.
func (p *Platform) storageClass(ctx *pulumi.Context) (pulumi.Resource, error) {
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
		// The volume goes with its claim, which is how the sweep leaves none behind.
		ReclaimPolicy: pulumi.String("Delete"),
	}, p.with(p.cluster.Ready)...)
	if err != nil {
		return nil, fmt.Errorf("creating storage class gp3: %w", err)
	}
	p.made = append(p.made, class)
	return class, nil
}
