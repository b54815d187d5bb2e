package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// events is the output of `go test -json` for a package with one test for each outcome, and a package without tests.
const events = `{"Action":"start","Package":"m/p"}
{"Action":"run","Package":"m/p","Test":"TestPasses"}
{"Action":"pass","Package":"m/p","Test":"TestPasses","Elapsed":0.01}
{"Action":"run","Package":"m/p","Test":"TestFails"}
{"Action":"output","Package":"m/p","Test":"TestFails","Output":"    p_test.go:9: two is not three\n"}
{"Action":"fail","Package":"m/p","Test":"TestFails","Elapsed":0.02}
{"Action":"run","Package":"m/p","Test":"TestOfRoot"}
{"Action":"output","Package":"m/p","Test":"TestOfRoot","Output":"=== RUN   TestOfRoot\n"}
{"Action":"output","Package":"m/p","Test":"TestOfRoot","Output":"    p_test.go:12: a log line\n"}
{"Action":"output","Package":"m/p","Test":"TestOfRoot","Output":"    p_test.go:13: needs root, to open a port\n"}
{"Action":"output","Package":"m/p","Test":"TestOfRoot","Output":"--- SKIP: TestOfRoot (0.00s)\n"}
{"Action":"skip","Package":"m/p","Test":"TestOfRoot","Elapsed":0}
{"Action":"run","Package":"m/p","Test":"TestOther"}
{"Action":"run","Package":"m/p","Test":"TestOther/inner"}
{"Action":"output","Package":"m/p","Test":"TestOther/inner","Output":"    p_test.go:17: the moon is not full\n"}
{"Action":"skip","Package":"m/p","Test":"TestOther/inner","Elapsed":0}
{"Action":"pass","Package":"m/p","Test":"TestOther","Elapsed":0}
{"Action":"output","Package":"m/p","Output":"FAIL\n"}
{"Action":"fail","Package":"m/p","Elapsed":1.5}
{"Action":"start","Package":"m/q"}
{"Action":"output","Package":"m/q","Output":"?   \tm/q\t[no test files]\n"}
{"Action":"skip","Package":"m/q","Elapsed":0}
`

func TestReport(t *testing.T) {
	for name, test := range map[string]struct{ expected, unexpected []string }{
		"as root":      {nil, []string{"m/p TestOfRoot: needs root, to open a port", "m/p TestOther/inner: the moon is not full"}},
		"without root": {[]string{"needs root"}, []string{"m/p TestOther/inner: the moon is not full"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			unexpected, err := report(strings.NewReader(events), strings.NewReader("go: a warning\n"), &out, test.expected)
			require.NoError(t, err)
			assert.Equal(t, test.unexpected, unexpected)
			assert.Contains(t, out.String(), "\n2 passed, 1 failed, 2 skipped\n")
			for _, part := range []string{"FAIL  m/p (1.5s)\n", "p_test.go:9: two is not three", "p_test.go:13: needs root, to open a port", "the moon is not full", "go: a warning"} {
				assert.Contains(t, out.String(), part)
			}
			assert.NotContains(t, out.String(), "m/q", "a package without tests is not listed")
			assert.Regexp(t, `\npackage +tests +skipped +seconds\nm/p +5 +2 +1\.5\n`, out.String())
			assert.Regexp(t, `\nslowest tests +seconds\nm/p TestFails +0\.0\nm/p TestPasses +0\.0\n(?s).*m/p TestOther/inner +0\.0\n`, out.String())
			assert.NotRegexp(t, `m/p TestOther +`, out.String(), "its subtest is listed instead")
		})
	}
}

// The end of a log says which tests failed and why, even if little of it is kept.
func TestFailuresAreLast(t *testing.T) {
	const output = `{"Action":"run","Package":"m/p","Test":"TestParent"}
{"Action":"run","Package":"m/p","Test":"TestParent/child"}
{"Action":"output","Package":"m/p","Test":"TestParent/child","Output":"    p_test.go:9: a log line\n"}
{"Action":"output","Package":"m/p","Test":"TestParent/child","Output":"        \tError:      \tNot equal\n"}
{"Action":"output","Package":"m/p","Test":"TestParent/child","Output":"        \tMessages:   \ttwo is not three\n"}
{"Action":"output","Package":"m/p","Test":"TestParent/child","Output":"        \t` + "%s" + `\n"}
{"Action":"fail","Package":"m/p","Test":"TestParent/child","Elapsed":0.02}
{"Action":"fail","Package":"m/p","Test":"TestParent","Elapsed":0.02}
{"Action":"run","Package":"m/p","Test":"TestPlain"}
{"Action":"output","Package":"m/p","Test":"TestPlain","Output":"    p_test.go:20: no luck\n"}
{"Action":"fail","Package":"m/p","Test":"TestPlain","Elapsed":0.02}
{"Action":"fail","Package":"m/p","Elapsed":1.5}
`
	var out strings.Builder
	_, err := report(strings.NewReader(fmt.Sprintf(output, strings.Repeat("long ", 1000))), strings.NewReader(""), &out, nil)
	require.NoError(t, err)
	end := out.String()[len(out.String())-1000:]
	assert.Contains(t, end, "\nfailed: m/p TestParent/child\nError:      \tNot equal\n")
	assert.Contains(t, end, "two is not three")
	assert.Contains(t, end, "\nfailed: m/p TestPlain\np_test.go:20: no luck\n")
	assert.NotContains(t, end, "failed: m/p TestParent\n", "its subtest is listed instead")
}

func TestExpectedSkips(t *testing.T) {
	const always, upgrade = "needs Pulumi's own plugins", "needs a Kubernetes version to upgrade to; `make test-upgrade` names one"
	assert.Equal(t, []string{always, upgrade}, expectedSkips(true, []string{"-count=1", "./..."}))
	assert.Equal(t, []string{always, upgrade, "needs root"}, expectedSkips(false, nil))
	assert.Equal(t, []string{always, upgrade, "left out by -short"}, expectedSkips(true, []string{"-short", "./..."}))
	assert.Empty(t, expectedSkips(false, []string{"-short", "-run", "^TestThis$", "./..."}))
}

// The exit code is that of go test, but 1 instead of 0 if a test is skipped unexpectedly.
func TestStatus(t *testing.T) {
	for name, test := range map[string]struct {
		code string
		exit int
		says string
		err  string
	}{
		"passes":             {`func Test(*testing.T) {}`, 0, "1 passed, 0 failed, 0 skipped\n", ""},
		"fails":              {`func Test(t *testing.T) { t.Fatal("because") }`, 1, "0 passed, 1 failed, 0 skipped\n", ""},
		"skips as expected":  {`func Test(t *testing.T) { t.Skip("needs the moon") }`, 0, "0 passed, 0 failed, 1 skipped\n", ""},
		"skips":              {`func Test(t *testing.T) { t.Skip("no reason") }`, 1, "0 passed, 0 failed, 1 skipped\n", "1 tests or packages were skipped that should have run here:\n  example Test: no reason"},
		"skips in silence":   {`func Test(t *testing.T) { t.SkipNow() }`, 1, "0 passed, 0 failed, 1 skipped\n", "example Test: no reason given"},
		"returns at once":    {`func Test(*testing.T) {}; func TestMain(*testing.M) {}`, 1, "0 passed, 0 failed, 0 skipped\n", "example: none of its tests ran"},
		"has no tests":       {``, 0, "0 passed, 0 failed, 0 skipped\n", ""},
		"does not compile":   {`func Test(t *testing.T) { undefined() }`, 1, "undefined: undefined", ""},
		"ends before a test": {`func Test(*testing.T) {}; func TestMain(*testing.M) { panic("at once") }`, 1, "at once", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			require.NoError(t, os.WriteFile("go.mod", []byte("module example\n\ngo 1.26\n"), 0o600))
			require.NoError(t, os.WriteFile("a.go", []byte("package example\n"), 0o600))
			if test.code != "" {
				code := "package example\n\nimport \"testing\"\n\n" + test.code + "\n"
				require.NoError(t, os.WriteFile("a_test.go", []byte(code), 0o600))
			}
			var out strings.Builder
			code, err := run([]string{"-count=1", "./..."}, &out, []string{"needs the moon"})
			assert.Equal(t, test.exit, code)
			assert.Contains(t, out.String(), test.says)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.err)
			}
		})
	}
}
