package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// ebsCSIDriver returns the chart of the EBS CSI driver, which creates the volumes of the StorageClass.
func (p *platform) ebsCSIDriver() chart {
	selector, tolerations := onControlPlane()
	return chart{
		Release: "aws-ebs-csi-driver", Namespace: kubeSystem,
		Repository: "https://kubernetes-sigs.github.io/aws-ebs-csi-driver", Name: "aws-ebs-csi-driver", Version: "2.64.0",
		Values: pulumi.Map{
			"controller": pulumi.Map{
				"region":       pulumi.String(p.config.Region),
				"replicaCount": pulumi.Int(1),
				"nodeSelector": selector,
				"tolerations":  tolerations,
				// Volumes are tagged with the cluster's name, so that those of a lost cluster can be found.
				"k8sTagClusterId": pulumi.String(p.config.Name),
			},
			"node": pulumi.Map{
				"tolerateAllTaints": pulumi.Bool(true),
				"enableWindows":     pulumi.Bool(false),
			},
			// The program declares the class itself, with other parameters. The chart's Helm test is not used.
			"defaultStorageClass": pulumi.Map{"enabled": pulumi.Bool(false)},
			"helmTester":          pulumi.Map{"enabled": pulumi.Bool(false)},
		},
	}
}
