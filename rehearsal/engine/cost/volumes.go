package cost

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// gibibyte is the size in bytes of what AWS's prices call a GB of a volume.
const gibibyte = 1 << 30

// claims adds the volumes that a chart's values claim, in the two forms that charts use: a volumeClaimTemplate, once
// for each of the replicas that are set beside or above it, and a persistence that is enabled. It assumes that a
// storage class is named after its volume type, as the program's gp3 is.
func (s *sum) claims(values map[string]any, replicas float64) {
	if own, ok := values["replicas"].(float64); ok {
		replicas = own
	}
	for key, value := range values {
		below, ok := value.(map[string]any)
		if !ok {
			continue
		}
		switch {
		case key == "volumeClaimTemplate":
			spec, _ := below["spec"].(map[string]any)
			resources, _ := spec["resources"].(map[string]any)
			requests, _ := resources["requests"].(map[string]any)
			s.claim(spec["storageClassName"], requests["storage"], replicas)
		case key == "persistence" && below["enabled"] == true:
			class := below["storageClassName"]
			if class == nil {
				class = below["storageClass"]
			}
			s.claim(class, below["size"], 1)
		default:
			s.claims(below, replicas)
		}
	}
}

func (s *sum) claim(class, size any, count float64) {
	quantity, err := resource.ParseQuantity(text(size, ""))
	if err != nil {
		s.missing(fmt.Sprintf("the size of a claimed volume is %v", size), Volumes)
		return
	}
	s.add(Volumes, text(class, "the default storage class"), count*quantity.AsApproximateFloat64()/gibibyte)
}
