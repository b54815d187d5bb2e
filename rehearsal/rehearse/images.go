package rehearse

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"eco2/rehearsal/argocd"
	"eco2/rehearsal/calico"
	"eco2/rehearsal/externaldns"
	"eco2/rehearsal/loadbalancer"
	"eco2/rehearsal/metricsserver"
	"eco2/rehearsal/prometheus"
)

// Image is one that pods ask for.
type Image struct {
	Name string
	// StandIn is whether what is in it is not what its makers publish, but something of ours.
	StandIn bool
}

// ours begins the names of images that are nobody else's.
const ours = "eco2.example/"

// Images are what the mirror serves besides the images that kubeadm pulls, by name.
func Images() []Image {
	var all []Image
	for _, name := range slices.Concat(
		argocd.Images(), calico.Images(), []string{externaldns.Image, loadbalancer.Image, metricsserver.Image}, prometheus.Images(), slices.Collect(maps.Keys(controllers)), []string{probeImage},
	) {
		all = append(all, Image{name, strings.HasPrefix(name, ours)})
	}
	slices.SortFunc(all, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
