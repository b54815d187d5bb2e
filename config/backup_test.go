package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestProdIsBackedUpUnlessItIsTurnedOff(t *testing.T) {
	for name, test := range map[string]struct {
		environment string
		set         values
		want        Backup
	}{
		"dev":                       {"dev", values{}, Backup{0, 42}},
		"prod":                      {"prod", values{}, Backup{4, 42}},
		"prod with another period":  {"prod", values{"keep": 7}, Backup{4, 7}},
		"prod with fewer snapshots": {"prod", values{"everyHours": 24, "keep": 1}, Backup{24, 1}},
		"prod, turned off":          {"prod", values{"everyHours": 0}, Backup{0, 42}},
		"dev, turned on":            {"dev", values{"everyHours": 1, "keep": 1000}, Backup{1, 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newStack(t, values{"environment": test.environment, "backup": test.set}).mustLoad(t)
			assert.Equal(t, test.want, c.Backup)
			assert.Equal(t, test.want.EveryHours != 0, c.Backup.On())
		})
	}
}

func TestInvalidBackups(t *testing.T) {
	newStack(t, values{"backup": values{"everyHours": 5, "keep": 1001}, "restoreFrom": "vol-0123456789abcdef0"}).requireProblems(t,
		"eco2:backup.everyHours: 5 is not one of 1, 2, 3, 4, 6, 8, 12, 24, or 0 for no backups",
		"eco2:backup.keep: 1001 must be between 1 and 1000 snapshots; for no backups, set eco2:backup.everyHours to 0",
		`eco2:restoreFrom: "vol-0123456789abcdef0" is not a snapshot id such as snap-0123456789abcdef0`)
	newStack(t, values{"backup": values{"everyHours": -4, "keep": 0}}).requireProblems(t,
		"eco2:backup.everyHours: -4 is not one of 1, 2, 3, 4, 6, 8, 12, 24, or 0 for no backups",
		"eco2:backup.keep: 0 must be between 1 and 1000 snapshots; for no backups, set eco2:backup.everyHours to 0")
	newStack(t, values{"backup": values{"keep": 7}}).requireProblems(t,
		"eco2:backup.keep: has no effect without eco2:backup.everyHours, which is 0: no backups are made; set both, or neither")
	newStack(t, values{"backup": values{"every": 4}}).requireProblems(t,
		`eco2:backup: must be {everyHours, keep} (json: unknown field "every")`)
}

// The update that goes back to a snapshot says so. Without the setting the snapshot is still the one of which the disk
// was made.
func TestRestoringGivesAWarning(t *testing.T) {
	const (
		first, second = "snap-0123456789abcdef0", "snap-0fedcba9876543210"
		warning       = "eco2:restoreFrom: this update replaces the control plane's machine and the disk with the cluster's " +
			"state: what changed in the cluster since " + first + " was made is lost; see docs/operations.md, 'Restoring a backup'"
	)
	for name, test := range map[string]struct {
		set      string
		previous values
		want     string
		restores bool
	}{
		"a stack that never restored":   {"", previousOutput(nil), "", false},
		"the first restore":             {first, previousOutput(nil), first, true},
		"another snapshot":              {first, previousOutput(values{"restoreFrom": second}), first, true},
		"the update after it":           {first, previousOutput(values{"restoreFrom": first}), first, false},
		"the setting is removed":        {"", previousOutput(values{"restoreFrom": first}), first, false},
		"a new stack, for another name": {first, nil, first, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, values{"restoreFrom": test.set})
			s.previous = test.previous
			c := s.mustLoad(t)
			assert.Equal(t, test.want, c.RestoreFrom)
			assert.Equal(t, test.restores, c.Restores())
			if test.restores {
				assert.Equal(t, []string{warning}, s.warnings)
			} else {
				assert.Empty(t, s.warnings)
			}
		})
	}
}

func TestAnUpgradeIsSnapshottedOnce(t *testing.T) {
	const older, newer = "1.36.3", "1.36.99"
	wanted := DefaultVersions.Kubernetes
	for name, test := range map[string]struct {
		backup, previous values
		restoreFrom      string
		want             string
	}{
		"a new stack":                     {values{}, nil, "", ""},
		"no upgrade":                      {values{}, previousOutput(values{"kubernetes": wanted}), "", ""},
		"a version that was not recorded": {values{}, previousOutput(nil), "", ""},
		"an upgrade":                      {values{}, previousOutput(values{"kubernetes": older}), "", wanted},
		"the update after it":             {values{}, previousOutput(values{"kubernetes": wanted, "snapshotBefore": wanted}), "", wanted},
		"the next upgrade":                {values{}, previousOutput(values{"kubernetes": older, "snapshotBefore": older}), "", wanted},
		"going back": {values{}, previousOutput(values{"kubernetes": newer, "snapshotBefore": newer}),
			"snap-0123456789abcdef0", newer},
		"without backups":             {values{"everyHours": 0}, previousOutput(values{"kubernetes": older}), "", ""},
		"backups that are turned off": {values{"everyHours": 0}, previousOutput(values{"kubernetes": wanted, "snapshotBefore": wanted}), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, values{"environment": "prod", "backup": test.backup, "restoreFrom": test.restoreFrom})
			s.previous = test.previous
			assert.Equal(t, test.want, s.mustLoad(t).SnapshotBefore())
		})
	}
}
