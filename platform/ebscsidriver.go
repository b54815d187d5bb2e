package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// ebsCSIDriver makes the volumes of the StorageClass.
func (p *Platform) ebsCSIDriver() Chart {
	selector, tolerations := onControlPlane()
	return Chart{
		Release: "aws-ebs-csi-driver", Namespace: kubeSystem,
		Repository: "https://kubernetes-sigs.github.io/aws-ebs-csi-driver", Name: "aws-ebs-csi-driver", Version: "2.64.0",
		Values: pulumi.Map{
			"controller": pulumi.Map{
				"region":       pulumi.String(p.config.Region),
				"replicaCount": pulumi.Int(1),
				"nodeSelector": selector,
				"tolerations":  tolerations,
				// Volumes carry the cluster's name, so that what a lost cluster leaves can be found.
				"k8sTagClusterId": pulumi.String(p.config.Name),
			},
			"node": pulumi.Map{
				"tolerateAllTaints": pulumi.Bool(true),
				"enableWindows":     pulumi.Bool(false),
			},
			// The chart's own class has other parameters than ours; its tester is of no use here.
			"defaultStorageClass": pulumi.Map{"enabled": pulumi.Bool(false)},
			"helmTester":          pulumi.Map{"enabled": pulumi.Bool(false)},
		},
	}
}
