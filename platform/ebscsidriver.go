package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	storagev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/storage/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// storageClass is the name of the default storage class.
const storageClass = "gp3"

// ebsCSIDriver is the EBS CSI driver, which creates the volumes of claims, and the default storage class.
type ebsCSIDriver struct {
	pulumi.ResourceState
	component.Children
}

// ebsCSIDriverArgs holds the inputs of ebsCSIDriver.
type ebsCSIDriverArgs struct {
	*shared
}

// newEBSCSIDriver declares the driver and the storage class.
func newEBSCSIDriver(ctx *pulumi.Context, name string, args *ebsCSIDriverArgs, opts ...pulumi.ResourceOption) (*ebsCSIDriver, error) {
	d := &ebsCSIDriver{}
	if err := component.Register(ctx, "eco2:platform:EBSCSIDriver", name, d, opts...); err != nil {
		return nil, err
	}
	// A cluster created with kubeadm has no storage class, and without one every claim would stay Pending. Volumes are
	// encrypted, and in the zone of the pod that first uses them.
	class, err := storagev1.NewStorageClass(ctx, storageClass, &storagev1.StorageClassArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:        pulumi.String(storageClass),
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
	}, args.object(d))
	if err != nil {
		return nil, fmt.Errorf("creating storage class %s: %w", storageClass, err)
	}
	if _, err := args.newRelease(ctx, "aws-ebs-csi-driver", &releaseArgs{
		Namespace: kubeSystem,
		Chart:     chart{Repository: "https://kubernetes-sigs.github.io/aws-ebs-csi-driver", Name: "aws-ebs-csi-driver", Version: "2.64.0"},
		Values: values{
			"controller": values{
				"region":       args.config.Region,
				"replicaCount": 1,
				"nodeSelector": controlPlaneSelector,
				"tolerations":  controlPlaneTolerations,
				// Volumes are tagged with the cluster's name, so that those of a lost cluster can be found.
				"k8sTagClusterId": args.config.Name,
			},
			"node": values{
				"tolerateAllTaints": true,
				"enableWindows":     false,
				// The plugin does not start without the metadata service, which on a worker only the host's network reaches.
				// Its other source would be node labels that AWS's cloud controller sets, which the cluster does not have.
				"hostNetwork": true,
			},
			// The program declares the class itself, with other parameters. The chart's Helm test is not used.
			"defaultStorageClass": values{"enabled": false},
			"helmTester":          values{"enabled": false},
		},
	}, d, class); err != nil {
		return nil, err
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{})
}
