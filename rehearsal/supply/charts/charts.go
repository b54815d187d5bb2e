// Package charts holds the Helm charts that the mirror serves in place of upstream charts that are in no Go module.
// They have upstream's names and versions, but only the values that the program sets. Each has a schema that rejects
// unknown values, so a misspelt value fails here instead of being ignored.
//
// Most of their images are stand-ins, too, and have names like eco2.example/stand-in/NAME:VERSION.
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

	"eco2/rehearsal/supply/mirror"
)

// repositories maps the charts to the repositories from which the program in platform/*.go downloads them. A test
// compares the two.
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

// Embedded returns the charts in this package's folders. It adds the templates of shared/shared.tpl and the schema
// definitions of shared/definitions.json to each.
func Embedded() ([]*chart.Chart, error) {
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
			data, err = addDefinitions(data)
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

// addDefinitions adds the shared definitions to a schema, because Helm needs a schema without references to other
// files.
func addDefinitions(schema []byte) ([]byte, error) {
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

// Upstream reads an upstream chart from a directory of its Go module and changes its version and appVersion to those
// that the program requires: not every version of a chart in a repository is in a version of the module.
func Upstream(dir, version, appVersion string) (*chart.Chart, error) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the chart in %s: %w", dir, err)
	}
	c.Metadata.Version, c.Metadata.AppVersion = version, appVersion
	return c, nil
}

// Add adds each chart to the mirror where the program looks for it: in a chart repository with an index or, if upstream
// uses an OCI registry, as an archive. The same chart always results in the same bytes.
func Add(m mirror.Mirror, charts ...*chart.Chart) error {
	for _, c := range charts {
		repository, known := repositories[c.Name()]
		if !known {
			return fmt.Errorf("serving chart %s: add its repository to repositories in rehearsal/supply/charts/charts.go", c.Name())
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
			return fmt.Errorf("writing the index for chart %s: %w", c.Name(), err)
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

// pack returns a chart's archive. Helm's own chartutil.Save would put the current time into it.
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

// index returns the index of a repository with one chart. Helm's own package for this would add all of its download
// code to the binary.
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
