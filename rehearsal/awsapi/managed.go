package awsapi

// managed are AWS's own policies that a program of ours attaches, as far as they are about what the model has. The
// driver changes only volumes that carry its tag, or the name of the claim that they were made for.
var managed = map[string]string{
	"arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicyV2": `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Resource": "*", "Action": [
			"ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeInstanceTypes",
			"ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumeStatus"]},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*", "Action": "ec2:CreateVolume",
			"Condition": {"StringLike": {"aws:RequestTag/ebs.csi.aws.com/cluster": "true"}}},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*",
			"Action": ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:DeleteVolume"],
			"Condition": {"StringLike": {"aws:ResourceTag/ebs.csi.aws.com/cluster": "true"}}},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*",
			"Action": ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:DeleteVolume"],
			"Condition": {"StringLike": {"aws:ResourceTag/kubernetes.io/created-for/pvc/name": "*"}}},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:instance/*", "Action": ["ec2:AttachVolume", "ec2:DetachVolume"]},
		{"Effect": "Allow", "Resource": "arn:aws:ec2:*:*:volume/*", "Action": "ec2:CreateTags",
			"Condition": {"StringEquals": {"ec2:CreateAction": "CreateVolume"}}}]}`,
}
