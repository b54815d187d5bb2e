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

// criticalPath is the chain that takes longest. The engine starts a resource as soon as those it depends
// on are done, so with enough parallelism an update takes as long as this.
func criticalPath(resources []stack.Resource) Path {
	byURN := map[resource.URN]stack.Resource{}
	for _, r := range resources {
		byURN[r.URN] = r
	}
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
		takes := duration(r)
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

func duration(r stack.Resource) time.Duration {
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
