package kubernetes

import (
	"encoding/base64"
	"maps"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	quantity "k8s.io/apimachinery/pkg/api/resource"

	"eco2/rehearsal/plugin"
)

// asSet is what a program set, as it is now. What the API server and others added is none of it, so a
// default is no drift, and neither is another spelling of the same quantity.
func asSet(set, live resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for key, value := range set {
		if now, there := live[key]; there {
			out[key] = valueAsSet(value, now)
		} else if saysNothing(value) {
			out[key] = value // the API server leaves it out
		}
	}
	return out
}

func valueAsSet(set, live resource.PropertyValue) resource.PropertyValue {
	switch {
	case set.IsObject() && live.IsObject():
		return resource.NewProperty(asSet(set.ObjectValue(), live.ObjectValue()))
	case set.IsArray() && live.IsArray() && len(set.ArrayValue()) == len(live.ArrayValue()):
		out := make([]resource.PropertyValue, len(set.ArrayValue()))
		for i, value := range set.ArrayValue() {
			out[i] = valueAsSet(value, live.ArrayValue()[i])
		}
		return resource.NewProperty(out)
	case sameQuantity(plugin.Text(set), plugin.Text(live)):
		return set
	default:
		return live
	}
}

// sameQuantity says whether two texts are one amount of memory, of disk or of CPU.
func sameQuantity(a, b string) bool {
	before, err := quantity.ParseQuantity(a)
	if err != nil {
		return false
	}
	after, err := quantity.ParseQuantity(b)
	return err == nil && before.Cmp(after) == 0
}

// saysNothing says whether leaving a value out means the same.
func saysNothing(value resource.PropertyValue) bool {
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
			if !saysNothing(inner) {
				return false
			}
		}
		return true
	default:
		return value.IsNull()
	}
}

// withStringData gives a live Secret the texts that the program set: the API server keeps them in data.
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
