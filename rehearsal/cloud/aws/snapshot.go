package aws

import "context"

// SnapshotKind is the kind of EBS snapshots, and LifecyclePolicyKind that of the policies by which AWS makes them.
const (
	SnapshotKind        = "snapshot"
	LifecyclePolicyKind = "lifecyclePolicy"
)

// Snapshot is an EBS snapshot.
type Snapshot struct {
	// URN is that of the resource that it was created for; empty if a lifecycle policy created it.
	URN         string `json:"_urn,omitempty"`
	ID          string `json:"id"`
	Region      string `json:"_region"`
	VolumeID    string `json:"volumeId"`
	SizeGiB     int    `json:"volumeSize"`
	Description string `json:"description"`
	Encrypted   bool   `json:"encrypted"`
	// Tags include those that Amazon Data Lifecycle Manager adds: aws:dlm:lifecycle-policy-id names the policy.
	Tags map[string]string `json:"tagsAll"`
	// Sequence numbers the snapshots of an account in the order in which they were made.
	Sequence int `json:"_sequence"`
}

// Snapshots lists all snapshots.
func (a *Account) Snapshots() ([]Snapshot, error) { return all[Snapshot](a, SnapshotKind) }

// Disks has what is on volumes and in snapshots. The account has only their descriptions.
type Disks interface {
	// Snapshot copies what is on a volume at this moment into a new snapshot.
	Snapshot(ctx context.Context, snapshot, volume string) error
	// Restore copies what is in a snapshot onto a new volume.
	Restore(ctx context.Context, volume, snapshot string) error
}

// NewSnapshot returns a new snapshot of a volume, which is not stored yet. Like in AWS it is encrypted if the volume is.
func (t Tx) NewSnapshot(volume Object) (Object, error) {
	others, err := t.Where(SnapshotKind, "ownerId", AccountID)
	if err != nil {
		return nil, err
	}
	last := 0.0
	for _, o := range others {
		last = max(last, o.Number("_sequence"))
	}
	id := NewID("snap")
	return Object{
		"id": id, "arn": "arn:aws:ec2:" + t.Region + "::snapshot/" + id, "ownerId": AccountID, "_region": t.Region,
		"volumeId": volume.ID(), "volumeSize": volume.Number("size"), "encrypted": volume.Flag("encrypted"),
		"kmsKeyId": volume.Text("kmsKeyId"), "_sequence": last + 1,
	}, nil
}
