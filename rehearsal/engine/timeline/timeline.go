// Package timeline draws a timeline of an update from the engine's event log: each step as a bar, with the critical
// path in colour.
package timeline

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Timeline holds the steps of one update.
type Timeline struct {
	Started time.Time
	Took    time.Duration
	// Steps are in the order in which they began, without unchanged resources.
	Steps []Step
	// Notes are what scripts ask the user to look at. The engine's display shows it only while the script runs.
	Notes []string
}

// Step is one operation of the engine on one resource. The engine's log has a resolution of one second.
type Step struct {
	URN resource.URN
	// Op is the engine's name of the operation: create, update, delete, replace.
	Op string
	// Start and End are relative to the update's beginning. An interrupted step ends with the update.
	Start, End time.Duration
	Failed     bool
	// Critical says that the step is on the critical path: the step that finished last, the one it waited for, and so
	// on.
	Critical bool
}

// Label returns a short name of a resource: the last part of its type, and its name.
func Label(urn resource.URN) string {
	typ := string(urn.Type())
	return typ[strings.LastIndexByte(typ, ':')+1:] + " " + urn.Name()
}

// Label returns the short name of the step's resource.
func (s Step) Label() string { return Label(s.URN) }

// notePattern matches a note in a script's line of progress: "[12s] note: …", or with a simulated host in the brackets.
var notePattern = regexp.MustCompile(`^(?:\[[^\]]*\] )?(note: .*)`)

// Read reads a log that `pulumi up --event-log` wrote. The log of a killed engine may be truncated.
func Read(r io.Reader) (Timeline, error) {
	var t Timeline
	var first, last int
	open := map[resource.URN]*Step{}
	var steps []*Step
	decoder := json.NewDecoder(bufio.NewReader(r))
	for {
		var event apitype.EngineEvent
		err := decoder.Decode(&event)
		// A killed engine leaves an incomplete line.
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return t, fmt.Errorf("reading the engine's events: %w", err)
		}
		if first == 0 {
			first = event.Timestamp
		}
		last = max(last, event.Timestamp)
		at := time.Duration(event.Timestamp-first) * time.Second
		switch {
		case event.ResourcePreEvent != nil && isStep(event.ResourcePreEvent.Metadata):
			step := &Step{URN: resource.URN(event.ResourcePreEvent.Metadata.URN), Op: string(event.ResourcePreEvent.Metadata.Op), Start: at, End: -1}
			open[step.URN] = step
			steps = append(steps, step)
		case event.ResOutputsEvent != nil:
			end(open, event.ResOutputsEvent.Metadata, at, false)
		case event.ResOpFailedEvent != nil:
			end(open, event.ResOpFailedEvent.Metadata, at, true)
		case event.DiagnosticEvent != nil:
			if note := notePattern.FindStringSubmatch(colors.Never.Colorize(event.DiagnosticEvent.Message)); note != nil {
				t.Notes = append(t.Notes, Label(resource.URN(event.DiagnosticEvent.URN))+": "+note[1])
			}
		}
	}
	t.Started, t.Took = time.Unix(int64(first), 0), time.Duration(last-first)*time.Second
	for _, step := range steps {
		if step.End < 0 {
			step.End, step.Failed = t.Took, true
		}
		t.Steps = append(t.Steps, *step)
	}
	slices.SortStableFunc(t.Steps, func(a, b Step) int { return cmp.Compare(a.Start, b.Start) })
	return t, nil
}

// isStep returns false for what takes no time: unchanged resources, components, and the stack itself.
func isStep(m apitype.StepEventMetadata) bool {
	state := m.New
	if state == nil {
		state = m.Old
	}
	return m.Op != apitype.OpSame && state != nil && state.Custom && !strings.HasPrefix(m.Type, "pulumi:")
}

func end(open map[resource.URN]*Step, m apitype.StepEventMetadata, at time.Duration, failed bool) {
	if step := open[resource.URN(m.URN)]; step != nil {
		step.End, step.Failed = at, failed
		delete(open, step.URN)
	}
}

// Mark marks the critical steps: the one that finished last, of its dependencies the one that finished last, and so on.
func (t *Timeline) Mark(dependencies map[resource.URN][]resource.URN) {
	byURN := map[resource.URN]*Step{}
	var at *Step
	for i := range t.Steps {
		step := &t.Steps[i]
		byURN[step.URN] = step
		if at == nil || step.End > at.End {
			at = step
		}
	}
	for at != nil && !at.Critical {
		at.Critical = true
		var before *Step
		for _, urn := range dependencies[at.URN] {
			if step := byURN[urn]; step != nil && (before == nil || step.End > before.End) {
				before = step
			}
		}
		at = before
	}
}

// MarkLayers marks the critical steps of a destroy, in which the engine deletes layer by layer and waits for the
// slowest step of each: the step that finished last, of those that had finished when it began the one that finished
// last and took longest, and so on.
func (t *Timeline) MarkLayers() {
	var at *Step
	for i := range t.Steps {
		if step := &t.Steps[i]; at == nil || step.End > at.End {
			at = step
		}
	}
	for at != nil {
		at.Critical = true
		var before *Step
		for i := range t.Steps {
			step := &t.Steps[i]
			if step.End > at.Start || step.Start >= at.Start {
				continue
			}
			if before == nil || step.End > before.End || step.End == before.End && step.Start < before.Start {
				before = step
			}
		}
		at = before
	}
}

// Critical returns the critical steps in their order.
func (t Timeline) Critical() []Step {
	var critical []Step
	for _, step := range t.Steps {
		if step.Critical {
			critical = append(critical, step)
		}
	}
	slices.SortStableFunc(critical, func(a, b Step) int { return cmp.Compare(a.End, b.End) })
	return critical
}
