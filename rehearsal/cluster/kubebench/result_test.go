package kubebench

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// printed returns a report in kube-bench's format with the results of checks.
func printed(edition string, results ...string) string {
	return fmt.Sprintf(`{"Controls":[{"id":"1","version":%q,"node_type":"master","tests":[{"section":"1.1","results":[%s]}],`+
		`"total_pass":0}],"Totals":{"total_pass":0}}`+"\n", edition, strings.Join(results, ","))
}

// result returns one check in a report.
func result(id, status, actual string, scored bool) string {
	return fmt.Sprintf(`{"test_number":%q,"test_desc":"text %s","status":%q,"actual_value":%q,"scored":%t}`,
		id, id, status, actual, scored)
}

// someFailures is a list of accepted failures.
var someFailures = []acceptedFailure{
	{id: "1.1", role: ControlPlane, reason: "on purpose"},
	{id: "1.2", role: ControlPlane, reason: "these two", only: []string{"name: a ", "name: b "}},
	{id: "1.3", role: Worker, reason: "elsewhere"},
}

func TestAssess(t *testing.T) {
	const twoObjects = "name: a is_compliant: false\nname: c is_compliant: true\nname: b is_compliant: false"
	asAccepted := []Finding{{"1.1", "text 1.1", "on purpose"}, {"1.2", "text 1.2", "these two"}}
	failed := []string{result("1.1", "FAIL", "root:root", true), result("1.2", "FAIL", twoObjects, true)}
	for name, test := range map[string]struct {
		results []string
		want    Result
		err     string
	}{
		"what is accepted fails": {
			append(failed, result("1.4", "PASS", "", true), result("1.5", "PASS", "", false), result("1.6", "WARN", "", false)),
			Result{Role: ControlPlane, Passed: 1, Accepted: asAccepted, Manual: 2, Recommended: 1}, "",
		},
		"a check that is not accepted fails": {
			append(failed, result("1.4", "FAIL", "permissions=644\n", true)),
			Result{Role: ControlPlane, Accepted: asAccepted, Failed: []Finding{{"1.4", "text 1.4", "permissions=644"}}},
			"check 1.4 failed on the control plane: text 1.4\npermissions=644",
		},
		"an automated check was not run": {
			append(failed, result("1.4", "INFO", "", true)),
			Result{Role: ControlPlane, Accepted: asAccepted, Failed: []Finding{{"1.4", "text 1.4", ""}}},
			"check 1.4 failed on the control plane: text 1.4\n",
		},
		"a failure is accepted for the other role only": {
			append(failed, result("1.3", "FAIL", "0644", true)),
			Result{Role: ControlPlane, Accepted: asAccepted, Failed: []Finding{{"1.3", "text 1.3", "0644"}}},
			"check 1.3 failed on the control plane: text 1.3\n0644",
		},
		"what is accepted passes": {
			[]string{result("1.1", "PASS", "etcd:etcd", true), failed[1]},
			Result{Role: ControlPlane, Passed: 1, Accepted: asAccepted[1:], Obsolete: []string{"1.1"}},
			"check 1.1 did not fail on the control plane; remove it from rehearsal/cluster/kubebench/accepted.go",
		},
		"there is no such check": {
			failed[:1],
			Result{Role: ControlPlane, Accepted: asAccepted[:1], Obsolete: []string{"1.2"}},
			"check 1.2 did not fail on the control plane; remove it from rehearsal/cluster/kubebench/accepted.go",
		},
		"another object does not comply": {
			[]string{failed[0], result("1.2", "FAIL", twoObjects+"\nname: c is_compliant: false", true)},
			Result{
				Role: ControlPlane, Accepted: asAccepted[:1],
				Failed: []Finding{{"1.2", "text 1.2", "name: c is_compliant: false"}},
			},
			"check 1.2 failed on the control plane: text 1.2\nname: c is_compliant: false",
		},
		"the command of a check about objects failed": {
			[]string{failed[0], result("1.2", "FAIL", "kubectl: not found", true)},
			Result{Role: ControlPlane, Accepted: asAccepted[:1], Failed: []Finding{{"1.2", "text 1.2", "kubectl: not found"}}},
			"check 1.2 failed on the control plane: text 1.2\nkubectl: not found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			// As of two runs.
			output := printed(benchmark, test.results[:1]...) + printed(benchmark, test.results[1:]...)
			got, err := assess([]byte(output), ControlPlane, someFailures)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			if test.err == "" {
				assert.NoError(t, got.Err())
			} else {
				assert.EqualError(t, got.Err(), test.err)
			}
		})
	}
}

func TestReportsThatAreNone(t *testing.T) {
	pass := result("1.1", "PASS", "", true)
	for output, message := range map[string]string{
		"":                        "reading what kube-bench found: it ran no automated check",
		printed(benchmark):        "reading what kube-bench found: it ran no automated check",
		printed("cis-1.12", pass): `reading what kube-bench found: it is about the benchmark "cis-1.12", and not about cis-1.10`,
		strings.TrimSuffix(printed(benchmark, pass), "}\n"): "reading what kube-bench found: unexpected EOF",
		"Unable to detect running programs":                 "reading what kube-bench found: invalid character 'U' looking for beginning of value",
	} {
		_, err := assess([]byte(output), ControlPlane, nil)
		assert.EqualError(t, err, message)
	}
}

func TestPrint(t *testing.T) {
	var text strings.Builder
	require.NoError(t, Result{
		Role: Worker, Passed: 9, Manual: 5, Recommended: 2,
		Accepted: []Finding{{"1.1", "one", "on purpose"}}, Failed: []Finding{{"1.2", "two", "a: 644\nb: 644"}},
	}.Print(&text))
	assert.Equal(t, `
worker: cis-1.10 of kube-bench v0.12.0
  passed                   9
  failed                   1
  failed, as accepted      1
  to decide by a person    5, of which 2 are set as recommended

failed:
  1.2 two
    a: 644
    b: 644

failed, as accepted:
  1.1 one
    on purpose
`, text.String())
}
