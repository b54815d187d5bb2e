package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CheckTypes refuses unknown properties and values of another type than the property's, which types names:
// bool, string, number, object or array. What is not known yet passes.
func CheckTypes(prefix string, properties resource.PropertyMap, types map[string]string) []Failure {
	var failures []Failure
	for _, key := range properties.StableKeys() {
		value, want := properties[key], types[string(key)]
		ok := map[string]bool{
			"bool": value.IsBool(), "string": value.IsString(), "number": value.IsNumber(),
			"object": value.IsObject(), "array": value.IsArray(),
		}[want]
		switch {
		case want == "":
			failures = append(failures, Failure{Property: prefix + string(key), Reason: "there is no such property"})
		case !ok && !value.IsComputed() && !value.IsOutput() && !value.IsNull():
			failures = append(failures, Failure{Property: prefix + string(key), Reason: fmt.Sprintf("must be of type %s, not %s", want, value.TypeString())})
		}
	}
	return failures
}

// Text is a string value; unknown values and other types are empty.
func Text(v resource.PropertyValue) string {
	if v.IsString() {
		return v.StringValue()
	}
	return ""
}

// CheckConfiguration refuses a provider input that is not among the known ones, nor the engine's own.
func CheckConfiguration(provider string, inputs resource.PropertyMap, known ...string) error {
	own := []string{"version", "pluginDownloadURL", "pluginChecksums"}
	for _, key := range inputs.StableKeys() {
		name := string(key)
		if !slices.Contains(known, name) && !slices.Contains(own, name) && !strings.HasPrefix(name, "__") {
			return fmt.Errorf("configuring the %s provider: it has no input %q", provider, name)
		}
	}
	return nil
}
