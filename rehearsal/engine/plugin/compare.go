package plugin

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Compare returns the differences between two sets of inputs, one per leaf. Lists are compared by index. A change
// requires a replacement if replaces returns true for its top-level property.
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

// segment returns a key in the form in which it is appended to a path. Keys with dots, like Kubernetes labels, are
// in brackets.
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

// top returns the top-level property of a path.
func top(path string) string {
	if i := strings.IndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return path
}

// covers reports whether an entry of ignoreChanges is this path or contains it.
func covers(ignored, path string) bool {
	rest, ok := strings.CutPrefix(path, ignored)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
