package previewdiff

import (
	"cmp"
	"slices"
	"strings"
)

// masked is the text that the engine shows instead of a secret.
const masked = "[secret]"

// scrubber returns a replacer that masks secrets. The engine masks what it knows to be secret; this also masks a secret
// that the program no longer marks as such.
func scrubber(secrets []string) *strings.Replacer {
	// If two secrets match at the same position, the replacer takes the first, which must be the longer one.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, secret := range secrets {
		if secret != "" {
			pairs = append(pairs, secret, masked)
		}
	}
	return strings.NewReplacer(pairs...)
}
