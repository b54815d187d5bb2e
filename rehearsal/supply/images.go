package supply

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"eco2/rehearsal/supply/argocd"
	"eco2/rehearsal/supply/calico"
	"eco2/rehearsal/supply/prometheus"
	"eco2/rehearsal/supply/releases"
)

// Image is a container image that the mirror serves.
type Image struct {
	Name string
	// StandIn says that the image has the rehearsal's own code, instead of what upstream publishes.
	StandIn bool
}

// ownPrefix is the beginning of the names of the rehearsal's own images.
const ownPrefix = "eco2.example/"

// Images returns the images that the mirror serves in addition to those that kubeadm pulls, sorted by name.
func Images() []Image {
	var all []Image
	for _, name := range slices.Concat(
		argocd.Images(), calico.Images(), releases.Images(), prometheus.Images(), slices.Collect(maps.Keys(standIns)), []string{probeImage},
	) {
		all = append(all, Image{name, strings.HasPrefix(name, ownPrefix)})
	}
	slices.SortFunc(all, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
