package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/hosts/simulated"
)

// sweepTime is an estimate of how long the sweep of a cluster in use takes: the deletion of a load balancer or a
// volume, the time that external-dns waits before it acts, and the script's own pauses. Run also measures a sweep, with
// a whole destroy.
const sweepTime = 20 * time.Second

// releaseTime is an estimate of how long a chart takes to become ready, until it is measured on a real cluster.
const releaseTime = 40 * time.Second

// objectTime is the time of one call to the API server, and of the engine's own work for a resource.
const objectTime = 100 * time.Millisecond

// estimatedUp returns the timeline of an update that creates these resources, with its critical path. The engine starts
// a resource as soon as its dependencies are done, so with enough parallelism an update takes as long as this path. Like
// a state, the list has each resource after its dependencies.
func estimatedUp(resources []stack.Resource) (t timeline.Timeline) {
	ends, dependencies := map[resource.URN]time.Duration{}, map[resource.URN][]resource.URN{}
	for _, r := range resources {
		var start time.Duration
		for _, dependency := range r.Dependencies {
			start = max(start, ends[dependency])
		}
		ends[r.URN], dependencies[r.URN] = start+creation(r), r.Dependencies
		t.Steps = append(t.Steps, timeline.Step{URN: r.URN, Start: start, End: ends[r.URN]})
		t.Took = max(t.Took, ends[r.URN])
	}
	t.Mark(dependencies)
	return t
}

// estimatedDestroy returns the timeline of a destroy, with its critical path. The engine deletes layer by layer,
// beginning with the resources that are furthest from those without dependencies, and each layer waits for the slowest
// resource of the one before.
func estimatedDestroy(resources []stack.Resource) (t timeline.Timeline) {
	layers, slowest := map[resource.URN]int{}, map[int]time.Duration{}
	for _, r := range resources {
		layer := 0
		for _, dependency := range r.DependsOn() {
			layer = max(layer, layers[dependency]+1)
		}
		layers[r.URN], slowest[layer] = layer, max(slowest[layer], removal(r))
	}
	starts := map[int]time.Duration{}
	for _, layer := range slices.Backward(slices.Sorted(maps.Keys(slowest))) {
		starts[layer] = t.Took
		t.Took += slowest[layer]
	}
	for _, r := range resources {
		if takes := removal(r); takes > 0 {
			start := starts[layers[r.URN]]
			t.Steps = append(t.Steps, timeline.Step{URN: r.URN, Start: start, End: start + takes})
		}
	}
	t.MarkLayers()
	return t
}

// criticalPath describes the steps on a timeline's critical path that take time.
func criticalPath(t timeline.Timeline) string {
	var b strings.Builder
	for _, s := range t.Critical() {
		if s.End > s.Start {
			fmt.Fprintf(&b, "  %6.1fs  +%5.1fs  %s\n", s.Start.Seconds(), (s.End - s.Start).Seconds(), s.Label())
		}
	}
	return b.String()
}

// removal returns how long the deletion of a resource takes. One that is deleted with another needs no call.
func removal(r stack.Resource) time.Duration {
	switch {
	case r.DeletedWith != "":
		return 0
	case strings.HasPrefix(r.Type, "aws:"):
		return provider.Latency(r.Type, provider.Delete)
	case r.URN.Name() == "sweep":
		return sweepTime
	case r.URN.Name() == "early-sweep":
		return time.Second // it finds nothing to delete
	default:
		return 0
	}
}

// creation returns how long the creation of a resource takes.
func creation(r stack.Resource) time.Duration {
	switch {
	case strings.HasPrefix(r.Type, "aws:"):
		return provider.Latency(r.Type, provider.Create)
	case r.Type == "command:remote:Command":
		create, _ := r.Inputs["create"].(string)
		_, comment, _ := strings.Cut(create, "# ")
		script, _, _ := strings.Cut(comment, ".sh@")
		return simulated.Durations[script]
	case r.Type == "kubernetes:helm.sh/v3:Release":
		return releaseTime
	case strings.HasPrefix(r.Type, "kubernetes:"):
		return objectTime
	default:
		return 0 // components and providers
	}
}
