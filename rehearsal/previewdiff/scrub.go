package previewdiff

import (
	"cmp"
	"slices"
	"strings"
)

// masked is what the engine itself shows for a secret.
const masked = "[secret]"

// scrubber replaces secrets. The engine masks what it knows to be secret; this is the second guard, for what
// a program lets slip out of its sight.
func scrubber(secrets []string) *strings.Replacer {
	// Of two that start at the same place the first wins, which must be the longer.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, secret := range secrets {
		if secret != "" {
			pairs = append(pairs, secret, masked)
		}
	}
	return strings.NewReplacer(pairs...)
}
