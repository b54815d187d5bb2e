package supply

import (
	"context"
	"io"
	"path"
	"path/filepath"

	"eco2/rehearsal/supply/argocd"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/crds"
	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/prometheus"
	"eco2/rehearsal/supply/releases"
	"eco2/rehearsal/supply/workloads"
)

// standInPath is the path of the program cmd/standin in its images.
const standInPath = "/standin"

// nobody is the user of the controllers that need no privileges.
const nobody = "65534"

// standIns maps the images of the stand-ins to the users that they run as. All images have the same program; a pod's
// arguments select the controller.
var standIns = map[string]string{
	"eco2.example/stand-in/aws-ebs-csi-driver:v1.64.0":       "", // root, as it makes directories on the machine
	"eco2.example/stand-in/external-secrets:v2.9.0":          nobody,
	"eco2.example/stand-in/kube-webhook-certgen:1.8.7":       nobody,
	"eco2.example/stand-in/rabbitmq-cluster-operator:2.22.4": nobody,
	"eco2.example/stand-in/redis-operator:0.26.0":            nobody,
}

// addPlatform adds to the mirror what runs on a Ready cluster: Argo CD, CustomResourceDefinitions, charts, and their
// images. bin is the directory with the programs that were built from this module, trusted the authority's certificate.
// It returns the checksums that the program's mirror.sha256 must have.
func addPlatform(ctx context.Context, m mirror.Mirror, repo, bin, trusted string, out io.Writer) (checksums map[string]string, err error) {
	if err := argocd.Add(ctx, m, repo, trusted, out); err != nil {
		return nil, err
	}
	if err := releases.Add(ctx, m, repo, trusted, out); err != nil {
		return nil, err
	}
	if err := prometheus.Add(ctx, m, repo, out); err != nil {
		return nil, err
	}
	for name, user := range standIns {
		image := mirror.Image{
			Name: name, Files: map[string]string{standInPath: filepath.Join(bin, path.Base(standInPath))},
			Texts:      map[string]string{authority.TrustFile: trusted},
			Entrypoint: []string{standInPath}, User: user,
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

// PublishWorkloads commits the files of package workloads to the Git repository that Argo CD follows. Argo CD then
// applies them by itself, so only call this to bring a stack up, not to preview or inspect one.
func PublishWorkloads(stateDir string) error {
	dir := filepath.Join(stateDir, gitserver.Directory, workloads.Name)
	_, err := workloads.Publish(dir, workloads.Files(), "The workloads of the rehearsal")
	return err
}
