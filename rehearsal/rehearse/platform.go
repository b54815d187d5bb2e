package rehearse

import (
	"context"
	"io"
	"path"
	"path/filepath"

	"eco2/rehearsal/argocd"
	"eco2/rehearsal/authority"
	"eco2/rehearsal/charts"
	"eco2/rehearsal/crds"
	"eco2/rehearsal/externaldns"
	"eco2/rehearsal/gitserver"
	"eco2/rehearsal/loadbalancer"
	"eco2/rehearsal/metricsserver"
	"eco2/rehearsal/mirror"
	"eco2/rehearsal/prometheus"
	"eco2/rehearsal/workloads"
)

// controllersPath is where the controllers of ours are in their images.
const controllersPath = "/controllers"

// nobody is whom they run as, where they need no more.
const nobody = "65534"

// controllers are the images of those controllers, by who they run as; which of them a pod is, its arguments say.
var controllers = map[string]string{
	"eco2.example/stand-in/aws-ebs-csi-driver:v1.64.0":       "", // root, who makes directories on the machine
	"eco2.example/stand-in/external-secrets:v2.9.0":          nobody,
	"eco2.example/stand-in/kube-webhook-certgen:1.8.7":       nobody,
	"eco2.example/stand-in/rabbitmq-cluster-operator:2.22.4": nobody,
	"eco2.example/stand-in/redis-operator:0.26.0":            nobody,
}

// addPlatform has the mirror serve what runs on a Ready cluster: Argo CD, definitions, charts, and their images. bin
// has what was built of this module. The checksums are those that the program has to be told.
func addPlatform(ctx context.Context, m mirror.Mirror, repo, bin string, out io.Writer) (checksums map[string]string, err error) {
	trusted, err := authority.Open()
	if err != nil {
		return nil, err
	}
	if err := argocd.Add(ctx, m, repo, trusted.PEM(), out); err != nil {
		return nil, err
	}
	if err := externaldns.Add(ctx, m, repo, trusted.PEM(), out); err != nil {
		return nil, err
	}
	if err := loadbalancer.Add(ctx, m, repo, trusted.PEM(), out); err != nil {
		return nil, err
	}
	if err := metricsserver.Add(ctx, m, repo, out); err != nil {
		return nil, err
	}
	if err := prometheus.Add(ctx, m, repo, filepath.Join(bin, "idle"), out); err != nil {
		return nil, err
	}
	for name, user := range controllers {
		image := mirror.Image{
			Name: name, Files: map[string]string{controllersPath: filepath.Join(bin, path.Base(controllersPath))},
			Texts:      map[string]string{authority.TrustFile: trusted.PEM()},
			Entrypoint: []string{controllersPath}, User: user,
		}
		if err := m.AddImage(ctx, image, out); err != nil {
			return nil, err
		}
	}
	embedded, err := charts.Embedded()
	if err != nil {
		return nil, err
	}
	if err := charts.Add(m, embedded...); err != nil {
		return nil, err
	}
	return crds.Add(ctx, m, repo)
}

// PublishWorkloads makes the repository that Argo CD follows hold what package workloads has. Argo CD takes it from
// there by itself: it belongs to what brings a stack up, and to nothing that looks.
func PublishWorkloads(stateDir string) error {
	dir := filepath.Join(stateDir, gitserver.Directory, workloads.Name)
	_, err := workloads.Publish(dir, workloads.Files(), "The workloads of the rehearsal")
	return err
}
