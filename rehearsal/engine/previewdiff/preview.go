package previewdiff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Change is what an update would do with one resource.
type Change struct {
	// Op is create, update, replace, delete or same; or, rarely, another operation of the engine.
	Op  string
	URN resource.URN
	// Why is the reason of a replacement or a deletion; empty for others.
	Why string
	// Follows says that the resource is replaced only because another one is.
	Follows bool
}

// String returns the resource in the engine's short form: "aws:ec2:Instance k8s-redis".
func (c Change) String() string { return name(c.URN) }

func name(urn resource.URN) string { return urn.Type().DisplayName() + " " + urn.Name() }

// plan holds what the engine's preview says: the changes, and the resources before and after the update.
type plan struct {
	changes       []Change // sorted by name
	before, after []apitype.ResourceV3
}

// step holds the fields of a step in the engine's JSON that are used here.
type step struct {
	Op             string
	URN            resource.URN
	OldState       *apitype.ResourceV3
	NewState       *apitype.ResourceV3
	ReplaceReasons []string
	DetailedDiff   map[string]struct{ Kind string }
}

// readPlan reads the output of `pulumi preview --json --show-sames`.
func readPlan(data []byte) (plan, error) {
	var preview struct{ Steps []step }
	if err := json.Unmarshal(data, &preview); err != nil {
		return plan{}, fmt.Errorf("reading the engine's preview: %w", err)
	}
	steps := map[resource.URN]step{}
	for _, s := range preview.Steps {
		// A replacement may have two more steps: the creation and the deletion.
		s.Op = strings.NewReplacer("create-replacement", "replace", "delete-replaced", "replace").Replace(s.Op)
		if known, ok := steps[s.URN]; ok && known.Op == "replace" {
			continue
		}
		steps[s.URN] = s
	}
	var p plan
	// Sorted by the displayed names, so that AWS's resources come first.
	byName := func(a, b resource.URN) int { return cmp.Or(cmp.Compare(name(a), name(b)), cmp.Compare(a, b)) }
	for _, urn := range slices.SortedFunc(maps.Keys(steps), byName) {
		s := steps[urn]
		change := Change{Op: s.Op, URN: urn}
		switch s.Op {
		case "replace":
			change.Why, change.Follows = why(s, steps), len(forcing(s)) == 0
		case "delete":
			change.Why = "no longer in the program"
		}
		p.changes = append(p.changes, change)
		if s.OldState != nil {
			p.before = append(p.before, *s.OldState)
		}
		if s.NewState != nil && s.Op != "delete" {
			p.after = append(p.after, *s.NewState)
		}
	}
	return p, nil
}

// mostReasons is how many properties are named as reasons; further ones are only counted.
const mostReasons = 4

// why returns the reason of a replacement: a property of the resource itself, or another resource that is replaced, and
// whose new id or attributes it needs.
func why(s step, steps map[resource.URN]step) string {
	var reasons []string
	for _, property := range forcing(s) {
		top, _, _ := strings.Cut(property, ".")
		top, _, _ = strings.Cut(top, "[")
		if cause, ok := replaced(s.NewState.PropertyDependencies[resource.PropertyKey(top)], steps); ok {
			reasons = append(reasons, fmt.Sprintf("`%s` comes from %s, which is replaced", property, name(cause)))
		} else {
			reasons = append(reasons, fmt.Sprintf("`%s` changes", property))
		}
	}
	if len(reasons) > mostReasons {
		reasons = append(reasons[:mostReasons], fmt.Sprintf("and %d more properties", len(reasons)-mostReasons))
	}
	if len(reasons) > 0 {
		return strings.Join(reasons, ", ")
	}
	// The engine gives no reason if a resource is replaced because of another one.
	if root, ok := root(s, steps); ok {
		return fmt.Sprintf("because %s is replaced", name(root))
	}
	return "the engine gives no reason"
}

// forcing returns the changed properties that require a replacement of the resource.
func forcing(s step) []string {
	var properties []string
	for property, diff := range s.DetailedDiff {
		if strings.HasSuffix(diff.Kind, "-replace") {
			properties = append(properties, property)
		}
	}
	if len(properties) == 0 {
		properties = s.ReplaceReasons
	}
	slices.Sort(properties)
	return properties
}

// replaced returns the first of these resources that is replaced.
func replaced(urns []resource.URN, steps map[resource.URN]step) (resource.URN, bool) {
	i := slices.IndexFunc(urns, func(urn resource.URN) bool { return steps[urn].Op == "replace" })
	if i < 0 {
		return "", false
	}
	return urns[i], true
}

// root returns the root cause of a resource's replacement: the nearest of its direct and indirect dependencies that is
// replaced because of its own properties.
func root(s step, steps map[resource.URN]step) (resource.URN, bool) {
	seen := map[resource.URN]bool{s.URN: true}
	for level := []step{s}; len(level) > 0; {
		var next []step
		for _, s := range level {
			for _, state := range []*apitype.ResourceV3{s.OldState, s.NewState} {
				if state == nil {
					continue
				}
				for _, urn := range slices.Sorted(slices.Values(append(slices.Clone(state.Dependencies), state.DeletedWith))) {
					if cause := steps[urn]; !seen[urn] && cause.Op == "replace" {
						seen[urn] = true
						next = append(next, cause)
					}
				}
			}
		}
		for _, cause := range next {
			if len(forcing(cause)) > 0 {
				return cause.URN, true
			}
		}
		level = next
	}
	return "", false
}
