package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CheckTypes returns a failure for each unknown property and for each value of a wrong type. types maps the known
// properties to bool, string, number, object or array. Unknown and null values have no wrong type. prefix is the path
// of the properties in failures, for instance "connection.".
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

// Text returns a string value. It is empty if the value is unknown or of another type.
func Text(v resource.PropertyValue) string {
	if v.IsString() {
		return v.StringValue()
	}
	return ""
}

// CheckConfiguration returns an error if a provider input is neither one of the known ones nor set by the engine.
func CheckConfiguration(provider string, inputs resource.PropertyMap, known ...string) error {
	fromEngine := []string{"version", "pluginDownloadURL", "pluginChecksums"}
	for _, key := range inputs.StableKeys() {
		name := string(key)
		if !slices.Contains(known, name) && !slices.Contains(fromEngine, name) && !strings.HasPrefix(name, "__") {
			return fmt.Errorf("configuring the %s provider: it has no input %q", provider, name)
		}
	}
	return nil
}
