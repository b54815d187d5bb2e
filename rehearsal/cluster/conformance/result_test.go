package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someReport = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="Kubernetes e2e suite">
  <testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
  <testcase name="[It] [sig-network] a service [Conformance]" status="passed" time="2.5"></testcase>
  <testcase name="[It] [sig-network] a lost packet [Conformance]" status="failed" time="3"><failure message="" type="failed">timed out after 3 s
expected a packet

in [It] at: network.go:1</failure></testcase>
  <testcase name="[It] [sig-node] a crash [Conformance]" status="panicked" time="3"><error message="nil" type="panicked">nil pointer</error></testcase>
  <testcase name="[It] [sig-node] two nodes [Conformance]" status="skipped" time="0"><skipped message="skipped - Requires at least 2 nodes"></skipped></testcase>
  <testcase name="[It] [sig-node] too late [Conformance]" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
  <testcase name="[It] [sig-storage] nobody asked for this" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>
`

var asked = []string{
	"[sig-network] a service [Conformance]", "[sig-network] a lost packet [Conformance]", "[sig-node] a crash [Conformance]",
	"[sig-node] two nodes [Conformance]", "[sig-node] too late [Conformance]",
}

func read(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit.xml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	r := Result{Failed: map[string]string{}, Skipped: map[string]string{}}
	return r.add(file, asked)
}

func TestResultIsWhatTheReportSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "junit.xml")
	require.NoError(t, os.WriteFile(file, []byte(someReport), 0o600))
	r := Result{
		Suite: "some", Took: 61 * time.Second, Failed: map[string]string{}, Skipped: map[string]string{},
		Left: map[string][]string{"the kernel has none": {"b", "a"}},
	}
	require.NoError(t, r.add(file, asked))
	assert.Equal(t, asked[:1], r.Passed)
	assert.Equal(t, asked[4:], r.Unrun)
	assert.EqualError(t, r.Err(), "2 of 3 tests of the suite some failed")

	var out strings.Builder
	require.NoError(t, r.Print(&out))
	assert.Equal(t, `
suite some of Kubernetes `+version+`, in 1m1s
  passed                1
  failed                2
  skipped themselves    1
  left out              2
  not run               1

failed:
  [sig-network] a lost packet [Conformance]
      timed out after 3 s
      expected a packet
      in [It] at: network.go:1
  [sig-node] a crash [Conformance]
      nil pointer

skipped themselves:
  [sig-node] two nodes [Conformance]
      Requires at least 2 nodes

left out: the kernel has none
  a
  b
`, out.String())
}

func TestResultThatIsNone(t *testing.T) {
	err := read(t, "<testsuites></testsuites>")
	assert.ErrorContains(t, err, "names none")
	err = read(t, "<testsuites>")
	assert.ErrorContains(t, err, "reading what became of the tests")
	err = read(t, strings.Replace(someReport, `[SynchronizedBeforeSuite]" status="passed" time="1">`,
		`[SynchronizedBeforeSuite]" status="failed" time="1"><failure>no node is ready</failure>`, 1))
	assert.EqualError(t, err, "[SynchronizedBeforeSuite]: no node is ready")

	assert.NoError(t, Result{Passed: []string{"a"}}.Err())
	assert.ErrorContains(t, Result{Passed: []string{"a"}, Unrun: []string{"b"}}.Err(), "1 tests of the suite  did not run")
	assert.ErrorContains(t, Result{Skipped: map[string]string{"a": "no"}}.Err(), "no test of the suite  passed")
}

// The log's form is ginkgo's, taken from a run of two processes of which two tests failed.
func TestProgressIsReadFromTheLog(t *testing.T) {
	ended, failed := readLog("Will run 24 of 7579 specs\nRunning in parallel across 4 processes\n••••\n" +
		"------------------------------\n• [FAILED] [753.714 seconds]\n[sig-network] DNS [It] should provide names [Conformance] [sig-network, Conformance]\n" +
		"k8s.io/kubernetes/test/e2e/network/dns.go:130\n\n  Timeline >>\n  [FAILED] in [It]\n------------------------------\n" +
		"••\n• [TIMEDOUT] [3 seconds]\n[sig-node] Pods [It] should end\n")
	assert.Equal(t, 8, ended)
	assert.Equal(t, []string{
		"[sig-network] DNS [It] should provide names [Conformance] [sig-network, Conformance]", "[sig-node] Pods [It] should end",
	}, failed)
	ended, failed = readLog("Running in parallel across 4 processes\n")
	assert.Zero(t, ended)
	assert.Empty(t, failed)
}
