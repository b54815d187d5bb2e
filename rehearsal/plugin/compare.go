package plugin

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Compare lists the differences between two sets of inputs, leaf by leaf. A path below a property for
// which replaces answers true cannot be changed in place. Lists are compared whole below their index.
func Compare(olds, news resource.PropertyMap, replaces func(property string) bool) Diff {
	diff := Diff{Changed: map[string]Change{}}
	walk := func(path string, op Op) {
		diff.Changed[path] = Change{Op: op, Replaces: replaces != nil && replaces(top(path))}
	}
	compareMaps("", olds, news, walk)
	return diff
}

func compareMaps(prefix string, olds, news resource.PropertyMap, found func(string, Op)) {
	for _, key := range news.StableKeys() {
		if old, had := olds[key]; had {
			compareValues(prefix+segment(prefix, string(key)), old, news[key], found)
		} else if !news[key].IsNull() {
			found(prefix+segment(prefix, string(key)), Added)
		}
	}
	for _, key := range olds.StableKeys() {
		if _, has := news[key]; !has {
			found(prefix+segment(prefix, string(key)), Deleted)
		}
	}
}

func compareValues(path string, before, after resource.PropertyValue, found func(string, Op)) {
	switch {
	case before.IsObject() && after.IsObject():
		compareMaps(path, before.ObjectValue(), after.ObjectValue(), found)
	case before.IsArray() && after.IsArray():
		olds, news := before.ArrayValue(), after.ArrayValue()
		for i := range max(len(olds), len(news)) {
			at := fmt.Sprintf("%s[%d]", path, i)
			switch {
			case i >= len(olds):
				found(at, Added)
			case i >= len(news):
				found(at, Deleted)
			default:
				compareValues(at, olds[i], news[i], found)
			}
		}
	case !before.DeepEquals(after):
		found(path, Updated)
	}
}

// segment spells a key as it continues a path; keys with dots, like Kubernetes labels, go in brackets.
func segment(prefix, key string) string {
	switch {
	case strings.ContainsAny(key, `.["`):
		return fmt.Sprintf("[%q]", key)
	case prefix == "":
		return key
	default:
		return "." + key
	}
}

// top is the first property of a path.
func top(path string) string {
	if i := strings.IndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return path
}

// covers says whether an ignoreChanges path names this path or something it lies in.
func covers(ignored, path string) bool {
	rest, ok := strings.CutPrefix(path, ignored)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
