package aws

// EBSClusterScopedPolicy is the ARN of the EBS CSI driver's managed policy that is limited to the volumes and instances
// of one cluster.
const EBSClusterScopedPolicy = "arn:aws:iam::aws:policy/AmazonEBSCSIDriverEKSClusterScopedPolicy"

// managedPolicies are the AWS managed policies that people attach to the role of EC2 nodes. Each ARN is copied from its
// page in AWS's managed policy reference, docs.aws.amazon.com/aws-managed-policy/latest/reference: their paths differ,
// and with a wrong path the policy does not exist.
var managedPolicies = map[string]bool{
	EBSClusterScopedPolicy:                                             true,
	"arn:aws:iam::aws:policy/AmazonEBSCSIDriverPolicyV2":               true,
	"arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly":       true,
	"arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly":       true,
	"arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy":                true,
	"arn:aws:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy": true,
	"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore":             true,
	"arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy":              true,
	"arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy":    true,
	"arn:aws:iam::aws:policy/service-role/AmazonEC2RoleforSSM":         true,
	"arn:aws:iam::aws:policy/service-role/AmazonEFSCSIDriverPolicy":    true,
}

// IsManagedPolicy reports whether an ARN is that of an AWS managed policy that the model knows.
func IsManagedPolicy(arn string) bool { return managedPolicies[arn] }
