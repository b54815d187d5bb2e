// Package needs asks for what a test needs of the machine that it runs on. What only another user or another machine
// has skips the test, with the reason. What `make test` builds is no reason to skip: without it the test fails.
package needs

import (
	"os"
	"testing"
)

// RootReason is how the reason of every skip for want of root begins. `make test` accepts those, and only where it is not
// run as root itself.
const RootReason = "needs root"

// ShortReason is how the reason of every skip by -short begins. `make check` accepts those.
const ShortReason = "left out by -short"

// OfficialReason is how the reason of every skip for want of Pulumi's own plugins begins. `make test` accepts those
// everywhere, since nobody has to install them.
const OfficialReason = "needs Pulumi's own plugins"

// Root skips a test that only root can run, and says what it needs root for.
func Root(t testing.TB, to string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("%s, to %s; `make test` as root runs it", RootReason, to)
	}
}

// Machines skips a test that boots machines in Docker where nobody may, and with -short, since that takes long.
func Machines(t testing.TB) {
	t.Helper()
	Root(t, "run machines in Docker")
	Long(t)
}

// Official skips a test of Pulumi's own plugins where they are not installed. err says what is missing, or is nil.
func Official(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("%s: %v", OfficialReason, err)
	}
}

// Long skips a test with -short, because it takes more than a few seconds.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip(ShortReason + ": it takes long")
	}
}

// Built fails a test for whose sake something must be built first. err says what is missing, or is nil. With -short the
// test is skipped.
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
