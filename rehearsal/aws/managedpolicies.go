package aws

// EBSClusterScopedPolicy is the one of the EBS CSI driver that is limited to one cluster's volumes and machines.
const EBSClusterScopedPolicy = "arn:aws:iam::aws:policy/AmazonEBSCSIDriverEKSClusterScopedPolicy"

// managedPolicies are AWS's own policies that people attach to the role of EC2 nodes. Each ARN is from its page in
// AWS's managed policy reference, docs.aws.amazon.com/aws-managed-policy/latest/reference: the path differs, and a
// wrong one is a policy that does not exist.
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

// IsManagedPolicy says whether an ARN is that of one of AWS's own policies that the model knows.
func IsManagedPolicy(arn string) bool { return managedPolicies[arn] }
