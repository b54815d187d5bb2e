package charts

import (
	"context"
	"io"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart"

	"eco2/rehearsal/mirror"
)

// Release is a program and its chart, both from one Go module of upstream.
type Release struct {
	// Name is the program's, the chart's, and that of the folder of rehearsal/mirror/build that pins the module.
	Name string
	// ModuleVersion is the version that the folder pins.
	ModuleVersion string
	// Folder is where the module has its charts.
	Folder string
	// ChartVersion is what the program asks for, AppVersion what the chart says that it runs.
	ChartVersion, AppVersion string
}

// Add builds what is missing and serves image, with the program as its entrypoint at path, and the chart. repo is the
// project's checkout, and progress goes to out.
func (r Release) Add(ctx context.Context, m mirror.Mirror, repo string, image mirror.Image, path string, out io.Writer) error {
	built, err := mirror.Build(ctx, repo, r.Name, r.ModuleVersion, out)
	if err != nil {
		return err
	}
	image.Files, image.Entrypoint = map[string]string{path: built.Binary(r.Name)}, []string{path}
	if err := m.AddImage(ctx, image, out); err != nil {
		return err
	}
	source, err := built.Source(ctx)
	if err != nil {
		return err
	}
	c, err := r.Chart(source)
	if err != nil {
		return err
	}
	return Add(m, c)
}

// Chart is the chart in the module's directory.
func (r Release) Chart(source string) (*chart.Chart, error) {
	return Upstream(filepath.Join(source, r.Folder, r.Name), r.ChartVersion, r.AppVersion)
}
