package api

import "eco2/rehearsal/cloud/aws"

// managedPolicies maps the ARN of each AWS managed policy that the program attaches to a document. The documents have
// the meaning of those in AWS's managed policy reference, limited to what the model supports.
//
// The policy of the EBS CSI driver allows operations on volumes that have the caller's cluster name as a tag, on
// instances that have it too.
var managedPolicies = map[string]string{
	aws.EBSClusterScopedPolicy: `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Resource": "*", "Action": [
			"ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeSnapshots",
			"ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumeStatus"]},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*", "Action": "ec2:CreateVolume", "Condition": {"StringEquals": {
			"aws:RequestTag/ebs.csi.aws.com/cluster-name": "${aws:PrincipalTag/eks-cluster-name}"}}},
		{"Effect": "Allow", "Resource": ["arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:*:*:instance/*"],
			"Action": ["ec2:AttachVolume", "ec2:DetachVolume"], "Condition": {"StringEquals": {
			"ec2:ResourceTag/ebs.csi.aws.com/cluster-name": "${aws:PrincipalTag/eks-cluster-name}"}}},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*",
			"Action": ["ec2:DeleteVolume", "ec2:ModifyVolume"], "Condition": {"StringEquals": {
			"ec2:ResourceTag/ebs.csi.aws.com/cluster-name": "${aws:PrincipalTag/eks-cluster-name}"}}},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*", "Action": "ec2:CreateTags",
			"Condition": {"StringEquals": {"ec2:CreateAction": "CreateVolume"}}}]}`,
}
