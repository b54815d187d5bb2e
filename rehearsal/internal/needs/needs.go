// Package needs checks what a test requires of the machine that it runs on. It skips the test, with a reason, if
// another user or another machine would be needed. If something is missing that `make test` builds, it fails the test
// instead.
package needs

import (
	"os"
	"testing"

	"eco2/rehearsal/internal/setup"
)

// RootReason is the beginning of the reason of every skip because root is required. `make test` accepts such skips only
// if it does not run as root itself.
const RootReason = "needs root"

// ShortReason is the beginning of the reason of every skip because of -short. `make check` accepts such skips.
const ShortReason = "left out by -short"

// OfficialReason is the beginning of the reason of every skip because Pulumi's own plugins are missing. `make test`
// always accepts such skips, since nobody has to install the plugins.
const OfficialReason = "needs Pulumi's own plugins"

// UpgradeReason is the reason of the skip because no version to upgrade to was named. `make test` always accepts it,
// since `make test-upgrade` is for that.
const UpgradeReason = "needs a Kubernetes version to upgrade to; `make test-upgrade` names one"

// Root skips a test unless it runs as root. to completes the reason: "needs root, to …".
func Root(t testing.TB, to string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("%s, to %s; `make test` as root runs it", RootReason, to)
	}
}

// Machines skips a test that boots machines in Docker unless it runs as root. With -short it is skipped too, since it
// takes long.
func Machines(t testing.TB) {
	t.Helper()
	Root(t, "run machines in Docker")
	Long(t)
}

// Official skips a test of Pulumi's own plugins if they are not installed. err says what is missing, or is nil.
func Official(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("%s: %v", OfficialReason, err)
	}
}

// UpgradeTo skips a test if no Kubernetes version was named to upgrade to. Otherwise it returns it.
func UpgradeTo(t testing.TB) string {
	t.Helper()
	version := os.Getenv(setup.UpgradeToEnv)
	if version == "" {
		t.Skip(UpgradeReason)
	}
	return version
}

// Long skips a test with -short. Use it for tests that take more than a few seconds.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip(ShortReason + ": it takes long")
	}
}

// Built fails a test if something that it needs has not been built. err says what is missing, or is nil. With -short
// the test is skipped instead.
func Built(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case testing.Short():
		t.Skip(ShortReason+": ", err)
	default:
		t.Fatalf("%v; -short leaves out the tests that need it", err)
	}
}
