package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
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

// Path is a chain of resources, each of which waits for the one before.
type Path struct {
	Total time.Duration
	Steps []Step
}

// Step is one resource on the path.
type Step struct {
	Name  string
	Takes time.Duration
}

func (p Path) String() string {
	var b strings.Builder
	var at time.Duration
	for _, s := range p.Steps {
		if s.Takes == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %6.1fs  +%5.1fs  %s\n", at.Seconds(), s.Takes.Seconds(), s.Name)
		at += s.Takes
	}
	return b.String()
}

// criticalPath returns the chain of dependencies of an update that takes longest. The engine starts a resource as soon
// as its dependencies are done, so with enough parallelism an update takes as long as this path.
func criticalPath(resources []stack.Resource) Path {
	byURN := byURN(resources)
	known := map[resource.URN]Path{}
	var longest func(urn resource.URN) Path
	longest = func(urn resource.URN) Path {
		if path, ok := known[urn]; ok {
			return path
		}
		r := byURN[urn]
		var before Path
		for _, dependency := range r.Dependencies {
			if path := longest(dependency); path.Total > before.Total {
				before = path
			}
		}
		takes := creation(r)
		path := Path{
			Total: before.Total + takes,
			Steps: append(append([]Step(nil), before.Steps...), Step{Name: timeline.Label(urn), Takes: takes}),
		}
		known[urn] = path
		return path
	}
	var critical Path
	for _, r := range resources {
		if path := longest(r.URN); path.Total > critical.Total {
			critical = path
		}
	}
	return critical
}

// destroyPath returns the critical path of a destroy. The engine deletes layer by layer, beginning with the resources
// that are furthest from those without dependencies, and each layer waits for the slowest resource of the one before.
func destroyPath(resources []stack.Resource) Path {
	byURN := byURN(resources)
	known := map[resource.URN]int{}
	var layer func(urn resource.URN) int
	layer = func(urn resource.URN) int {
		if n, ok := known[urn]; ok {
			return n
		}
		n := 0
		for _, other := range byURN[urn].DependsOn() {
			n = max(n, layer(other)+1)
		}
		known[urn] = n
		return n
	}
	slowest := map[int]Step{}
	for _, r := range resources {
		if takes := removal(r); takes > slowest[layer(r.URN)].Takes {
			slowest[layer(r.URN)] = Step{Name: timeline.Label(r.URN), Takes: takes}
		}
	}
	var path Path
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(slowest))) {
		path.Total += slowest[n].Takes
		path.Steps = append(path.Steps, slowest[n])
	}
	return path
}

func byURN(resources []stack.Resource) map[resource.URN]stack.Resource {
	all := map[resource.URN]stack.Resource{}
	for _, r := range resources {
		all[r.URN] = r
	}
	return all
}

// removal returns how long the deletion of a resource takes. One that is deleted with another needs no call.
func removal(r stack.Resource) time.Duration {
	switch {
	case r.DeletedWith != "":
		return 0
	case strings.HasPrefix(r.Type, "aws:"):
		return aws.Latency(r.Type, aws.Delete)
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
		return aws.Latency(r.Type, aws.Create)
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
