package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Suite is a choice of upstream's tests.
type Suite struct {
	// Name is what `make conformance` calls it.
	Name string
	// has is whether a test is in it, by its full name.
	has func(name string) bool
}

var suites = []Suite{
	{"conformance", isConformance},
	{"network-policies", func(name string) bool { return strings.HasPrefix(name, "[sig-network] Netpol ") }},
	{"quick", func(name string) bool {
		return slices.ContainsFunc(quick, func(begins string) bool {
			return strings.HasPrefix(name, begins) && (isConformance(name) || begins == namedPort)
		})
	}},
}

func isConformance(name string) bool { return strings.HasSuffix(name, "[Conformance]") }

// namedPort is a test of network policies. It shows that Felix can use the kernel's sets of addresses with ports.
const namedPort = "[sig-network] Netpol NetworkPolicy between server and client should allow ingress access on one named port"

// quick lists how the names of some tests begin: Conformance tests of names, services, the network between pods, probes
// and the scheduler's choice of a node, and one test of network policies. None of them takes minutes.
var quick = []string{
	namedPort,
	"[sig-network] API Server should provide secure master service",
	"[sig-network] DNS should provide DNS for services",
	"[sig-network] DNS should provide DNS for the cluster",
	"[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service",
	"[sig-network] Networking Granular Checks: Pods should function for node-pod communication: http",
	"[sig-network] Services should be able to create a functioning NodePort service",
	"[sig-network] Services should serve a basic endpoint from pods",
	"[sig-node] Probing container should be restarted with a /healthz",
	"[sig-node] Probing container with readiness probe should not be ready before initial delay",
	"[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching",
}

// serial matches the names of tests that disturb others, or are disturbed by them.
var serial = regexp.MustCompile(`\[Serial\]|\[Disruptive\]`)

// SuiteNamed finds a suite.
func SuiteNamed(name string) (Suite, error) {
	var known []string
	for _, s := range suites {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return Suite{}, fmt.Errorf("there is no suite %q; the suites are %s", name, strings.Join(known, ", "))
}

// plan says which tests of a suite run, and which are left out.
type plan struct {
	// parallel are the names of those that run side by side, alone of those that run after them, one by one.
	parallel, alone []string
	// left are the names of those that are left out, by why.
	left map[string][]string
}

// plan chooses among all tests in the binary. focus, if there is one, is a regular expression for their names.
func (s Suite) plan(names []string, focus string) (plan, error) {
	wanted, err := regexp.Compile(focus)
	if err != nil {
		return plan{}, fmt.Errorf("reading FOCUS: %w", err)
	}
	p := plan{left: map[string][]string{}}
	for _, name := range names {
		switch why := reason(name); {
		case !s.has(name) || !wanted.MatchString(name):
		case why != "":
			p.left[why] = append(p.left[why], name)
		case serial.MatchString(name):
			p.alone = append(p.alone, name)
		default:
			p.parallel = append(p.parallel, name)
		}
	}
	if len(p.parallel)+len(p.alone) == 0 {
		return plan{}, fmt.Errorf("no test of the suite %s runs; FOCUS=%q matches none of their names, or only such as are left out", s.Name, focus)
	}
	return p, nil
}

func (p plan) count() int { return len(p.parallel) + len(p.alone) }

// suiteTitle is what ginkgo puts before the name of each test where it compares names.
const suiteTitle = "Kubernetes e2e suite "

// expression matches these names and no others, for ginkgo's --focus.
func expression(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "^" + suiteTitle + "(" + strings.Join(quoted, "|") + ")$"
}
