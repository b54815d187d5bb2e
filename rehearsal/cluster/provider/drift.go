package provider

import (
	"encoding/base64"
	"maps"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	quantity "k8s.io/apimachinery/pkg/api/resource"

	"eco2/rehearsal/engine/plugin"
)

// liveInputs returns the program's inputs (set) with the values that they have in the cluster now (live). Fields
// that the API server or others added are left out, so a default is not drift. Another spelling of the same
// quantity is not drift either.
func liveInputs(set, live resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for key, value := range set {
		if now, there := live[key]; there {
			out[key] = liveValue(value, now)
		} else if isZero(value) {
			out[key] = value // the API server leaves it out
		}
	}
	return out
}

func liveValue(set, live resource.PropertyValue) resource.PropertyValue {
	switch {
	case set.IsObject() && live.IsObject():
		return resource.NewProperty(liveInputs(set.ObjectValue(), live.ObjectValue()))
	case set.IsArray() && live.IsArray() && len(set.ArrayValue()) == len(live.ArrayValue()):
		out := make([]resource.PropertyValue, len(set.ArrayValue()))
		for i, value := range set.ArrayValue() {
			out[i] = liveValue(value, live.ArrayValue()[i])
		}
		return resource.NewProperty(out)
	case sameQuantity(plugin.Text(set), plugin.Text(live)):
		return set
	default:
		return live
	}
}

// sameQuantity reports whether two strings are the same Kubernetes quantity, such as 1Gi and 1024Mi.
func sameQuantity(a, b string) bool {
	before, err := quantity.ParseQuantity(a)
	if err != nil {
		return false
	}
	after, err := quantity.ParseQuantity(b)
	return err == nil && before.Cmp(after) == 0
}

// isZero reports whether a value is empty, so that leaving it out means the same.
func isZero(value resource.PropertyValue) bool {
	switch {
	case value.IsBool():
		return !value.BoolValue()
	case value.IsNumber():
		return value.NumberValue() == 0
	case value.IsString():
		return value.StringValue() == ""
	case value.IsArray():
		return len(value.ArrayValue()) == 0
	case value.IsObject():
		for _, inner := range value.ObjectValue() {
			if !isZero(inner) {
				return false
			}
		}
		return true
	default:
		return value.IsNull()
	}
}

// withStringData returns a live Secret with stringData for the keys that the program set there. The API server
// stores them in data only.
func withStringData(set, live resource.PropertyMap) resource.PropertyMap {
	if !set["stringData"].IsObject() || !live["data"].IsObject() {
		return live
	}
	texts := resource.PropertyMap{}
	for key := range set["stringData"].ObjectValue() {
		encoded, there := live["data"].ObjectValue()[key]
		if text, err := base64.StdEncoding.DecodeString(plugin.Text(encoded)); there && err == nil {
			texts[key] = resource.NewProperty(string(text))
		}
	}
	out := maps.Clone(live)
	out["stringData"] = resource.NewProperty(texts)
	return out
}
