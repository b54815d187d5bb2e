package live

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shortest is how many characters a text has that an error may not quote. What is shorter is no secret, and
// would be found in any sentence.
const shortest = 5

// withoutSecrets is an error that quotes none of the values, any of which may be a secret: in place of each it has
// the value's name. Templates, schemas and API servers all quote what they refuse. public are texts that may show.
func withoutSecrets(err error, values map[string]any, public ...string) error {
	if err == nil || len(values) == 0 {
		return err
	}
	secrets := map[string]string{}
	texts("", values, func(path, text string) {
		known := func(p string) bool { return strings.Contains(p, text) }
		if len(text) < shortest || slices.ContainsFunc(public, known) {
			return
		}
		secrets[text] = path
		secrets[base64.StdEncoding.EncodeToString([]byte(text))] = path
	})
	text := err.Error()
	// The longest first: one may be part of another.
	byLength := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }
	for _, secret := range slices.SortedFunc(maps.Keys(secrets), byLength) {
		text = strings.ReplaceAll(text, secret, fmt.Sprintf("[the value of %s]", secrets[secret]))
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// texts visits all texts among values, and each line of those that have several, in the order of their names.
func texts(path string, value any, visit func(path, text string)) {
	switch v := value.(type) {
	case string:
		visit(path, v)
		if lines := strings.Split(v, "\n"); len(lines) > 1 {
			for _, line := range lines {
				visit(path, strings.TrimSpace(line))
			}
		}
	case []any:
		for i, inner := range v {
			texts(fmt.Sprintf("%s[%d]", path, i), inner, visit)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			texts(strings.TrimPrefix(path+"."+key, "."), v[key], visit)
		}
	}
}
