package timeline

import (
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func urn(typ, name string) resource.URN {
	return resource.URN("urn:pulumi:s::p::" + typ + "::" + name)
}

var (
	vpc     = urn("aws:ec2/vpc:Vpc", "network")
	master  = urn("command:remote:Command", "prepare-master")
	worker  = urn("command:remote:Command", "prepare-worker")
	ready   = urn("command:remote:Command", "ready")
	unknown = urn("aws:ec2/eip:Eip", "stayed")
)

// events returns the log of an update of five resources. One is unchanged, and the last one's operation is interrupted
// by the end of the log, in the middle of a line.
func events() string {
	event := func(second string, kind string, op string, urn resource.URN, custom string) string {
		typ := string(urn.Type())
		return `{"timestamp":` + second + `,"` + kind + `":{"metadata":{"op":"` + op + `","urn":"` + string(urn) +
			`","type":"` + typ + `","new":{"urn":"` + string(urn) + `","custom":` + custom + `}}}}` + "\n"
	}
	return `{"timestamp":100,"preludeEvent":{"config":{}}}` + "\n" +
		event("100", "resourcePreEvent", "create", vpc, "true") +
		event("100", "resourcePreEvent", "same", unknown, "true") +
		event("100", "resourcePreEvent", "create", urn("eco2:cluster:Worker", "master"), "false") +
		event("103", "resOutputsEvent", "create", vpc, "true") +
		`{"timestamp":104,"diagnosticEvent":{"urn":"` + string(ready) + `","message":"\u003c{%reset%}\u003e[3s] note: k8s-old is in the cluster\u003c{%reset%}\u003e\n","ephemeral":true}}` + "\n" +
		`{"timestamp":104,"diagnosticEvent":{"urn":"` + string(ready) + `","message":"[4s] waiting for a footnote","ephemeral":true}}` + "\n" +
		event("103", "resourcePreEvent", "create", master, "true") +
		event("103", "resourcePreEvent", "create", worker, "true") +
		event("110", "resOutputsEvent", "create", master, "true") +
		event("123", "resOpFailedEvent", "create", worker, "true") +
		event("123", "resourcePreEvent", "create", ready, "true") +
		event("130", "resourcePreEvent", "same", unknown, "true") +
		`{"timestamp":130,"resOutp`
}

func TestRead(t *testing.T) {
	read, err := Read(strings.NewReader(events()))
	require.NoError(t, err)
	assert.Equal(t, 30*time.Second, read.Took)
	assert.Equal(t, []Step{
		{URN: vpc, Op: "create", End: 3 * time.Second},
		{URN: master, Op: "create", Start: 3 * time.Second, End: 10 * time.Second},
		{URN: worker, Op: "create", Start: 3 * time.Second, End: 23 * time.Second, Failed: true},
		{URN: ready, Op: "create", Start: 23 * time.Second, End: 30 * time.Second, Failed: true},
	}, read.Steps)
	assert.Equal(t, []string{"Command ready: note: k8s-old is in the cluster"}, read.Notes)
	_, err = Read(strings.NewReader("not a log"))
	assert.ErrorContains(t, err, "reading the engine's events")
}

// The path leads from each step to the dependency that finished last, and only to steps that were waited for.
func TestMark(t *testing.T) {
	read, err := Read(strings.NewReader(events()))
	require.NoError(t, err)
	read.Mark(map[resource.URN][]resource.URN{
		ready: {master, worker, unknown}, master: {vpc}, worker: {vpc},
	})
	var path []string
	for _, step := range read.Critical() {
		path = append(path, step.Label())
	}
	assert.Equal(t, []string{"Vpc network", "Command prepare-worker", "Command ready"}, path)
}

// Layers need no dependencies: a step has waited for all steps that had finished before it began.
func TestMarkLayers(t *testing.T) {
	read, err := Read(strings.NewReader(events()))
	require.NoError(t, err)
	read.MarkLayers()
	var path []string
	for _, step := range read.Critical() {
		path = append(path, step.Label())
	}
	assert.Equal(t, []string{"Vpc network", "Command prepare-worker", "Command ready"}, path)
}

func TestWrite(t *testing.T) {
	read, err := Read(strings.NewReader(events()))
	require.NoError(t, err)
	read.Mark(map[resource.URN][]resource.URN{ready: {worker}})
	var page strings.Builder
	require.NoError(t, read.Write(&page, "up of <local>"))
	assert.Contains(t, page.String(), "up of &lt;local&gt;")
	assert.Equal(t, 4, strings.Count(page.String(), "<rect "))
	assert.Equal(t, 2, strings.Count(page.String(), `class="bar critical failed"`))
	assert.Contains(t, page.String(), "<li>23s to 30s: Command ready</li>")
}
