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

// minSecretLength is the length in bytes of the shortest value that withoutSecrets removes. A shorter one is not a
// secret, and may be part of any sentence.
const minSecretLength = 5

// withoutSecrets returns an error in whose text the values are replaced by their names. Any value may be secret, and
// templates, schemas and API servers all quote the values that they refuse. Values that are part of one of the
// public texts stay.
func withoutSecrets(err error, values map[string]any, public ...string) error {
	if err == nil || len(values) == 0 {
		return err
	}
	secrets := map[string]string{}
	texts("", values, func(path, text string) {
		known := func(p string) bool { return strings.Contains(p, text) }
		if len(text) < minSecretLength || slices.ContainsFunc(public, known) {
			return
		}
		secrets[text] = path
		secrets[base64.StdEncoding.EncodeToString([]byte(text))] = path
	})
	text := err.Error()
	// The longest first, because one may be part of another.
	byLength := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }
	for _, secret := range slices.SortedFunc(maps.Keys(secrets), byLength) {
		text = strings.ReplaceAll(text, secret, fmt.Sprintf("[the value of %s]", secrets[secret]))
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// texts calls visit for every string among the values, in the order of their names. It also calls visit for each line
// of a string that has several.
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
