package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Backup is how often AWS makes a snapshot of the disk with the cluster's state, and how many it keeps.
type Backup struct {
	// EveryHours is the number of hours between two snapshots. If it is zero, AWS makes none.
	EveryHours int
	// Keep is the number of snapshots. AWS deletes the oldest when there is one more.
	Keep int
}

// On reports whether AWS makes snapshots.
func (b Backup) On() bool { return b.EveryHours > 0 }

// backupIntervals are the intervals in hours that Amazon Data Lifecycle Manager accepts ("Interval" of CreateRule in
// its API reference).
var backupIntervals = []int{1, 2, 3, 4, 6, 8, 12, 24}

// maxBackups is the maximum number of snapshots that Amazon Data Lifecycle Manager keeps ("Count" of RetainRule).
const maxBackups = 1000

// defaultBackup returns the backup of a stack that sets none. Those of prod go back a week, so that damage that is found
// on Monday can be undone, and at most four hours of changes are lost. Each snapshot stores only what has changed since
// the one before.
func defaultBackup(e Environment) Backup {
	if e == Prod {
		return Backup{EveryHours: 4, Keep: 42}
	}
	return Backup{EveryHours: 0, Keep: 42}
}

// backup reads the setting of the same name. A field that is not set has its default.
func (r *reader) backup(e Environment) Backup {
	b := defaultBackup(e)
	set := decode[struct {
		EveryHours *int `json:"everyHours"`
		Keep       *int `json:"keep"`
	}](r, "backup", "{everyHours, keep}")
	if set.EveryHours != nil {
		b.EveryHours = *set.EveryHours
	}
	if set.Keep != nil {
		b.Keep = *set.Keep
		if b.EveryHours == 0 {
			r.problem("backup.keep", "has no effect without %s, which is 0: no backups are made; set both, or neither", r.key("backup.everyHours"))
		}
	}
	return b
}

var snapshotID = regexp.MustCompile(`^snap-([0-9a-f]{8}|[0-9a-f]{17})$`)

// checkBackup reports what Amazon Data Lifecycle Manager would reject, and an id that cannot be that of a snapshot. It
// warns that an update goes back to a backup.
func (r *report) checkBackup(c Config) {
	if b := c.Backup; b.EveryHours != 0 && !slices.Contains(backupIntervals, b.EveryHours) {
		r.problem("backup.everyHours", "%d is not one of %s, or 0 for no backups", b.EveryHours,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(backupIntervals), " ", ", "), "[]"))
	}
	if c.Backup.Keep < 1 || c.Backup.Keep > maxBackups {
		r.problem("backup.keep", "%d must be between 1 and %d snapshots; for no backups, set %s to 0",
			c.Backup.Keep, maxBackups, r.key("backup.everyHours"))
	}
	switch {
	case c.RestoreFrom != "" && !snapshotID.MatchString(c.RestoreFrom):
		r.problem("restoreFrom", "%q is not a snapshot id such as snap-0123456789abcdef0", c.RestoreFrom)
	case c.Restores():
		r.warning("restoreFrom", "this update replaces the control plane's machine and the disk with the cluster's state: what "+
			"changed in the cluster since %s was made is lost; see docs/operations.md, 'Restoring a backup'", c.RestoreFrom)
	}
}

// Restores reports whether this update makes a disk of a snapshot for a cluster that has one.
func (c Config) Restores() bool {
	return c.Previous.Name != "" && c.RestoreFrom != "" && c.RestoreFrom != c.Previous.RestoreFrom
}

// SnapshotBefore returns the version of Kubernetes before whose upgrade the disk with the cluster's state is snapshotted,
// or an empty string if there is no such snapshot. The one of the last upgrade stays until the next, or until backups
// are turned off.
func (c Config) SnapshotBefore() string {
	was := c.Previous.Kubernetes
	switch {
	case !c.Backup.On():
		return ""
	case was != "" && was != c.Versions.Kubernetes && !c.Restores(): // going back to the snapshot and to its version is no upgrade
		return c.Versions.Kubernetes
	default:
		return c.Previous.SnapshotBefore
	}
}
