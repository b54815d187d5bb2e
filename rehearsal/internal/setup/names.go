package setup

const (
	// OperatorAddress is the address from which machines see the rehearsal's user. Like MirrorAddress it is in the range
	// that is reserved for carriers (RFC 6598), because the model of AWS assigns addresses of the documentation ranges to
	// its machines.
	OperatorAddress = "100.64.0.10"
	// MirrorAddress is the address at which machines reach the mirror.
	MirrorAddress = "100.64.0.1"
	// UpgradeToEnv is the environment variable with the Kubernetes version to which TestUpgradeTo upgrades a cluster.
	UpgradeToEnv = "ECO2_REHEARSAL_UPGRADE_TO"
	// MirrorEnv is the environment variable with the directory that the mirror serves. Without it a driver keeps the
	// directory that the services container already has.
	MirrorEnv = "ECO2_REHEARSAL_MIRROR"

	// HostedZone is the ID of the Route 53 zone of the stack's domain; where stacks have several domains, this one ID
	// stands for the zones of all.
	HostedZone = "Z0REHEARSAL00000000"
)
