package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/needs"
)

// inBinary are the tests that e2e.test has.
func inBinary(t *testing.T) (Tests, []string) {
	t.Helper()
	tests, err := Find("../../..")
	needs.Built(t, err)
	names, err := tests.Names(t.Context())
	require.NoError(t, err)
	return tests, names
}

// Each suite has tests, each of them that begins a choice, and each entry of what is left out, is of a test's name.
func TestEachChoiceMatchesATest(t *testing.T) {
	_, names := inBinary(t)
	for _, s := range suites {
		tests := len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !s.has(name) }))
		if s.Name == "quick" {
			assert.Equal(t, len(quick), tests, "each name is that of one test")
		} else {
			assert.Greater(t, tests, 20, s.Name)
		}
	}
	chosen, err := SuiteNamed("quick")
	require.NoError(t, err)
	for _, begins := range quick {
		assert.True(t, slices.ContainsFunc(names, func(name string) bool {
			return strings.HasPrefix(name, begins) && chosen.has(name)
		}), "%q begins no test's name", begins)
	}
	for _, left := range leftOuts {
		assert.True(t, slices.ContainsFunc(names, func(name string) bool {
			return left.names.MatchString(name) && slices.ContainsFunc(suites, func(s Suite) bool { return s.has(name) })
		}), "%s matches no test of a suite", left.names)
		assert.NotEmpty(t, left.why)
	}
}

// ginkgo would run exactly the planned tests.
func TestThePlanIsWhatWouldRun(t *testing.T) {
	needs.Long(t)
	tests, names := inBinary(t)
	for _, s := range suites {
		p, err := s.plan(names, "")
		require.NoError(t, err)
		for _, asked := range [][]string{p.parallel, p.alone} {
			if len(asked) == 0 {
				continue
			}
			dir := t.TempDir()
			_, err := tests.output(t.Context(), "--ginkgo.dry-run", "--ginkgo.focus="+expression(asked), "--report-dir="+dir)
			require.NoError(t, err)
			r := Result{Failed: map[string]string{}, Skipped: map[string]string{}}
			require.NoError(t, r.add(dir+"/junit_01.xml", names))
			assert.ElementsMatch(t, asked, r.Passed, s.Name)
		}
	}
}

func TestPlan(t *testing.T) {
	names := []string{
		"[sig-a] one [Conformance]", "[sig-a] two [Serial] [Conformance]", "[sig-a] three", "[sig-a] four [Disruptive] [Conformance]",
		"[sig-network] Netpol [Feature:SCTPConnectivity] five",
	}
	s, err := SuiteNamed("conformance")
	require.NoError(t, err)
	p, err := s.plan(names, "")
	require.NoError(t, err)
	assert.Equal(t, names[:1], p.parallel)
	assert.Equal(t, []string{names[1], names[3]}, p.alone)
	assert.Empty(t, p.left)

	p, err = s.plan(names, "two|three")
	require.NoError(t, err)
	assert.Equal(t, plan{alone: names[1:2], left: map[string][]string{}}, p)

	_, err = s.plan(names, "(")
	assert.ErrorContains(t, err, "reading FOCUS: ")
	_, err = s.plan(names, "three")
	assert.EqualError(t, err, `no test of the suite conformance runs; FOCUS="three" matches none of their names, or only such as are left out`)
	_, err = SuiteNamed("all")
	assert.EqualError(t, err, `there is no suite "all"; the suites are conformance, network-policies, quick`)
}

// Whether the kernel has SCTP is asked of it, not assumed.
func TestLeftOutUnlessTheMachineHasIt(t *testing.T) {
	name := "[sig-network] Netpol [Feature:SCTPConnectivity] five"
	if hasSCTP() {
		assert.Empty(t, reason(name))
	} else {
		assert.Contains(t, reason(name), "SCTP")
	}
	assert.Empty(t, reason("[sig-network] Netpol six"))
}
