package conformance

import (
	"regexp"

	"golang.org/x/sys/unix"
)

// leftOut are tests of the suites that cannot pass on a rehearsal's machines, whatever the program does.
type leftOut struct {
	// names matches the tests' names.
	names *regexp.Regexp
	// why is a sentence for who reads the result.
	why string
	// unless says that this machine has what they need; nil where none has.
	unless func() bool
}

// leftOuts is the whole list. A test that fails for another reason stays in the suites and fails.
var leftOuts = []leftOut{
	{regexp.MustCompile(`\[Feature:SCTPConnectivity\]`), "this host's kernel, which the machines share, has no SCTP", hasSCTP},
}

// reason is why a test is left out, or nothing.
func reason(name string) string {
	for _, left := range leftOuts {
		if left.names.MatchString(name) && (left.unless == nil || !left.unless()) {
			return left.why
		}
	}
	return ""
}

// hasSCTP is whether the kernel speaks SCTP, or would load the module that does.
func hasSCTP() bool {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return false
	}
	_ = unix.Close(socket) // nothing was written
	return true
}
