package charts

import (
	"context"
	"io"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart"

	"eco2/rehearsal/supply/mirror"
)

// Release describes an upstream program and its chart, which are both in one Go module.
type Release struct {
	// Name is the name of the binary, of the chart, and of the folder in rehearsal/supply/mirror/build that pins the module.
	Name string
	// ModuleVersion is the version that the folder pins.
	ModuleVersion string
	// Folder is the module's directory with the charts.
	Folder string
	// ChartVersion is the chart's version that the program requires.
	ChartVersion string
	// AppVersion is the version that the chart should declare for its binary.
	AppVersion string
}

// Add builds the binary, if that is not done yet, and adds to the mirror the chart and the image, with the binary at
// path as its entrypoint. repo is the path of the project's checkout. Add writes its progress to out.
func (r Release) Add(ctx context.Context, m mirror.Mirror, repo string, image mirror.Image, path string, out io.Writer) error {
	built, err := mirror.BuildProject(ctx, repo, r.Name, r.ModuleVersion, out)
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

// Chart reads the chart from the module's directory.
func (r Release) Chart(source string) (*chart.Chart, error) {
	return Upstream(filepath.Join(source, r.Folder, r.Name), r.ChartVersion, r.AppVersion)
}
