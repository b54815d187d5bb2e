// Package charts has the Helm charts that the rehearsal's mirror serves in the place of those whose makers have
// them in no Go module: of ours, under upstream's names and versions, with the values that the program sets and no
// others. A schema refuses what a chart does not know, so a value that is misspelt fails here and is not ignored.
//
// What their pods run are stand-ins too, and say so in their images: eco2.example/stand-in/NAME:VERSION.
package charts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/mirror"
)

// repositories are where the program takes the charts from, in platform/*.go. A test compares the two.
var repositories = map[string]string{
	"aws-ebs-csi-driver":           "https://kubernetes-sigs.github.io/aws-ebs-csi-driver",
	"aws-load-balancer-controller": "https://aws.github.io/eks-charts",
	"external-dns":                 "https://kubernetes-sigs.github.io/external-dns",
	"external-secrets":             "https://charts.external-secrets.io",
	"kube-prometheus-stack":        "https://prometheus-community.github.io/helm-charts",
	"metrics-server":               "https://kubernetes-sigs.github.io/metrics-server",
	"rabbitmq-cluster-operator":    "oci://registry-1.docker.io/cloudpirates/rabbitmq-cluster-operator",
	"redis-operator":               "https://ot-container-kit.github.io/helm-charts",
}

//go:embed shared */Chart.yaml */values.yaml */values.schema.json */templates
var folders embed.FS

// Ours are the charts of this package's folders. Each has the templates in shared among its own, and what its
// schema refers to as definitions.
func Ours() ([]*chart.Chart, error) {
	names, err := fs.Glob(folders, "*/"+chartutil.ChartfileName)
	if err != nil {
		return nil, fmt.Errorf("looking for charts: %w", err)
	}
	var charts []*chart.Chart
	for _, name := range names {
		c, err := read(path.Dir(name))
		if err != nil {
			return nil, fmt.Errorf("reading chart %s: %w", path.Dir(name), err)
		}
		charts = append(charts, c)
	}
	return charts, nil
}

func read(name string) (*chart.Chart, error) {
	templates, err := folders.ReadFile("shared/shared.tpl")
	if err != nil {
		return nil, err
	}
	files := []*loader.BufferedFile{{Name: "templates/shared.tpl", Data: templates}}
	err = fs.WalkDir(folders, name, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := folders.ReadFile(file)
		if err == nil && path.Base(file) == chartutil.SchemafileName {
			data, err = define(data)
		}
		files = append(files, &loader.BufferedFile{Name: strings.TrimPrefix(file, name+"/"), Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// define adds to a schema what it refers to: Helm validates a chart by a schema that stands alone.
func define(schema []byte) ([]byte, error) {
	definitions, err := folders.ReadFile("shared/definitions.json")
	if err != nil {
		return nil, err
	}
	var whole map[string]any
	if err := json.Unmarshal(schema, &whole); err != nil {
		return nil, fmt.Errorf("reading %s: %w", chartutil.SchemafileName, err)
	}
	whole["definitions"] = json.RawMessage(definitions)
	return json.Marshal(whole)
}

// Upstream is a chart as its makers have it in a directory of their Go module, under the versions that are asked
// for: no module holds each version of a chart that a repository does.
func Upstream(dir, version, appVersion string) (*chart.Chart, error) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the chart in %s: %w", dir, err)
	}
	c.Metadata.Version, c.Metadata.AppVersion = version, appVersion
	return c, nil
}

// Add serves each chart where the program looks for it when it has a mirror: as one that a repository's index
// names or, for an OCI registry, as a plain archive. The same chart makes the same bytes.
func Add(m mirror.Mirror, charts ...*chart.Chart) error {
	for _, c := range charts {
		repository, known := repositories[c.Name()]
		if !known {
			return fmt.Errorf("serving chart %s: rehearsal/charts does not know its repository", c.Name())
		}
		archive, err := pack(c)
		if err != nil {
			return fmt.Errorf("packing chart %s: %w", c.Name(), err)
		}
		if registry, oci := strings.CutPrefix(repository, "oci://"); oci {
			if err := m.AddFile(fmt.Sprintf("https://%s-%s.tgz", registry, c.Metadata.Version), archive); err != nil {
				return err
			}
			continue
		}
		file := fmt.Sprintf("%s-%s.tgz", c.Name(), c.Metadata.Version)
		list, err := index(c, file, archive)
		if err != nil {
			return fmt.Errorf("listing chart %s: %w", c.Name(), err)
		}
		if err := m.AddFile(repository+"/"+file, archive); err != nil {
			return err
		}
		if err := m.AddFile(repository+"/index.yaml", list); err != nil {
			return err
		}
	}
	return nil
}

// pack makes a chart's archive. Helm's own chartutil.Save does too, with the time of the day in it.
func pack(c *chart.Chart) ([]byte, error) {
	metadata, err := yaml.Marshal(c.Metadata)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	files := slices.SortedFunc(slices.Values(c.Raw), func(a, b *chart.File) int { return strings.Compare(a.Name, b.Name) })
	for _, file := range files {
		data := file.Data
		if file.Name == chartutil.ChartfileName {
			data = metadata
		}
		header := tar.Header{Name: path.Join(c.Name(), file.Name), Mode: 0o644, Size: int64(len(data))}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// index lists the one chart of a repository. Helm's own package for it brings along all that can download one.
func index(c *chart.Chart, file string, archive []byte) ([]byte, error) {
	sum := sha256.Sum256(archive)
	type entry struct {
		*chart.Metadata
		URLs   []string `json:"urls"`
		Digest string   `json:"digest"`
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "v1",
		"entries":    map[string]any{c.Name(): []entry{{c.Metadata, []string{file}, hex.EncodeToString(sum[:])}}},
	})
}
