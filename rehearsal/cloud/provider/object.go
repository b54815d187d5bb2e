package provider

import (
	"crypto/rand"
	"maps"
	"math/big"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
)

// outputs returns the properties that the provider reports, without the model's own.
func outputs(o aws.Object) resource.PropertyMap {
	plain := map[string]any{}
	for key, v := range o {
		if !strings.HasPrefix(key, "_") {
			plain[key] = v
		}
	}
	return resource.NewPropertyMapFromMap(plain)
}

func randomFrom(alphabet string, n int) string {
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		out[i] = alphabet[k.Int64()]
	}
	return string(out)
}

// newUniqueID returns a new unique ID of IAM: four letters for the type of entity, and 17 letters and digits.
func newUniqueID(prefix string) string {
	return prefix + randomFrom("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17)
}

// merged returns the provider's default tags, overridden by a resource's own tags.
func merged(defaults map[string]string, own resource.PropertyValue) resource.PropertyValue {
	if unknown(own) {
		return resource.MakeComputed(resource.NewStringProperty(""))
	}
	all := resource.PropertyMap{}
	for key, v := range defaults {
		all[resource.PropertyKey(key)] = resource.NewStringProperty(v)
	}
	if own.IsObject() {
		maps.Copy(all, own.ObjectValue())
	}
	return resource.NewObjectProperty(all)
}
