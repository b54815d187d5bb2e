package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
)

// The longest steps of a critical path are shown in a few lines, in their order, and all others as one.
func TestCriticalPath(t *testing.T) {
	path := timeline.Timeline{Took: 3*time.Minute + 5*time.Second}
	end := time.Duration(0)
	for i, seconds := range []int{2, 15, 40, 1, 31, 22, 0, 12, 63} {
		start := end
		end += time.Duration(seconds) * time.Second
		urn := resource.URN("urn:pulumi:local::eco2::command:remote:Command::step-" + string(rune('a'+i)))
		path.Steps = append(path.Steps, timeline.Step{URN: urn, Start: start, End: end, Critical: true})
	}
	path.Steps = append(path.Steps, timeline.Step{URN: "urn:pulumi:local::eco2::command:remote:Command::beside", End: end})

	assert.Equal(t, "\nThe critical path of 3m5s: Command step-b 15s, Command step-c 40s, Command step-e 31s, Command step-f 22s,\n"+
		"  Command step-h 12s, Command step-i 1m3s, 3 shorter steps 3s\n", criticalPath(path, false))
	verbose := criticalPath(path, true)
	assert.Equal(t, 9, strings.Count(verbose, "Command step-"))
	assert.Contains(t, verbose, "\n     17s     57s  Command step-c\n")
	path.Steps = path.Steps[:2]
	assert.Equal(t, "\nThe critical path of 3m5s: Command step-a 2s, Command step-b 15s\n", criticalPath(path, false))
}

// The commands to go on with name the stack that is up.
func TestNext(t *testing.T) {
	r := run{name: "local", level: setup.Rehearse, plugins: toolchain.StandInPlugins}
	assert.Equal(t, "Stack local is up after 9m12s. Its machines are containers on this host. Next: `make status`,\n"+
		"  `make kubectl ARGS='get nodes'`, `make ssh NODE=k8s-master`, `make destroy`\n", r.next(9*time.Minute+12*time.Second+300*time.Millisecond))
	r = run{name: "dev", level: setup.Simulate, plugins: toolchain.StandInPlugins}
	models := r.next(7 * time.Second)
	assert.Contains(t, models, "models")
	assert.NotContains(t, models, "make ssh", "nobody can log in to a model")
	assert.Equal(t, "`make kubectl LEVEL=simulate STACK=dev ARGS='get pods'`", r.command("kubectl", "ARGS='get pods'"))
	r = run{name: "prod", level: setup.Rehearse, plugins: toolchain.OfficialPlugins}
	assert.Equal(t, "`make destroy PLUGINS=official STACK=prod`", r.command("destroy"))
}

// Outputs are long, and only printed on request.
func TestDisplayFlags(t *testing.T) {
	s := &stack.Stack{Name: "dev"}
	for verbose, want := range map[bool]string{
		false: "up --parallel 64 --stack dev --yes --skip-preview --event-log events.json --suppress-outputs --refresh",
		true:  "up --parallel 64 --stack dev --yes --skip-preview --event-log events.json --non-interactive --refresh",
	} {
		r := run{verbose: verbose}
		assert.Equal(t, want, strings.Join(s.Operation("up", append(r.displayFlags("events.json"), "--refresh")...), " "))
	}
}
