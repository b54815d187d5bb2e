package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// values holds Helm values or a part of an object, written as they look in YAML: strings, numbers, booleans, outputs,
// lists and other values.
type values map[string]any

// input converts the values for a resource. Unlike pulumi.ToMap, it keeps each output separate, so that a single unknown
// value does not make all the values around it unknown in a preview.
func (v values) input() pulumi.Map {
	m := pulumi.Map{}
	for key, value := range v {
		m[key] = input(value)
	}
	return m
}

func input(value any) pulumi.Input {
	switch value := value.(type) {
	case pulumi.Input:
		return value
	case values:
		return value.input()
	case []values:
		list := pulumi.Array{}
		for _, element := range value {
			list = append(list, element.input())
		}
		return list
	default:
		return pulumi.Any(value)
	}
}
