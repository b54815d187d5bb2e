package awsapi

import "eco2/rehearsal/aws"

// managed are AWS's own policies that the program attaches, by ARN, as far as they are about what the model has. Their
// meaning is that of the documents in AWS's managed policy reference.
//
// The driver's: volumes that carry the name of the caller's cluster, on machines that carry it too.
var managed = map[string]string{
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
