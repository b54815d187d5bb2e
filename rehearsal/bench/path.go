package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/command/hosts"
	"eco2/rehearsal/stack"
	"eco2/rehearsal/timeline"
)

// sweepTime is how long the sweep of a cluster in use takes: a load balancer or a volume that is deleted, what
// external-dns waits before it acts, and the script's own pauses. An estimate; `Run` measures one beside it.
const sweepTime = 35 * time.Second

// releaseTime is how long a chart takes to become ready: an estimate, until it is measured on a real cluster.
const releaseTime = 40 * time.Second

// objectTime is one call to the API server and the engine's own time for a resource.
const objectTime = 100 * time.Millisecond

// Path is a chain of resources each of which waits for the one before.
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

// criticalPath is the chain of an update that takes longest. The engine starts a resource as soon as those it
// depends on are done, so with enough parallelism an update takes as long as this.
func criticalPath(resources []stack.Resource) Path {
	before := map[resource.URN][]resource.URN{}
	for _, r := range resources {
		before[r.URN] = r.Dependencies
	}
	return longest(resources, before, creation)
}

// destroyPath is the same of a destroy, where a resource waits for those that depend on it. What goes with
// something else takes no call.
func destroyPath(resources []stack.Resource) Path {
	before := map[resource.URN][]resource.URN{}
	for _, r := range resources {
		for _, dependency := range r.Dependencies {
			before[dependency] = append(before[dependency], r.URN)
		}
	}
	return longest(resources, before, removal)
}

// longest is the longest chain of resources each of which waits for those before it.
func longest(resources []stack.Resource, before map[resource.URN][]resource.URN, takes func(stack.Resource) time.Duration) Path {
	byURN := map[resource.URN]stack.Resource{}
	for _, r := range resources {
		byURN[r.URN] = r
	}
	known := map[resource.URN]Path{}
	var to func(urn resource.URN) Path
	to = func(urn resource.URN) Path {
		if path, ok := known[urn]; ok {
			return path
		}
		var first Path
		for _, other := range before[urn] {
			if path := to(other); path.Total > first.Total {
				first = path
			}
		}
		own := takes(byURN[urn])
		path := Path{
			Total: first.Total + own,
			Steps: append(append([]Step(nil), first.Steps...), Step{Name: timeline.Label(urn), Takes: own}),
		}
		known[urn] = path
		return path
	}
	var critical Path
	for _, r := range resources {
		if path := to(r.URN); path.Total > critical.Total {
			critical = path
		}
	}
	return critical
}

func removal(r stack.Resource) time.Duration {
	switch {
	case r.DeletedWith != "":
		return 0
	case strings.HasPrefix(r.Type, "aws:"):
		return aws.Latency(r.Type, aws.Delete)
	case r.URN.Name() == "sweep":
		return sweepTime
	default:
		return 0
	}
}

func creation(r stack.Resource) time.Duration {
	switch {
	case strings.HasPrefix(r.Type, "aws:"):
		return aws.Latency(r.Type, aws.Create)
	case r.Type == "command:remote:Command":
		create, _ := r.Inputs["create"].(string)
		_, comment, _ := strings.Cut(create, "# ")
		script, _, _ := strings.Cut(comment, ".sh@")
		return hosts.Durations[script]
	case r.Type == "kubernetes:helm.sh/v3:Release":
		return releaseTime
	case strings.HasPrefix(r.Type, "kubernetes:"):
		return objectTime
	default:
		return 0 // components and providers
	}
}
