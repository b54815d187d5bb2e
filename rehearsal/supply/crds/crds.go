// Package crds adds the custom resource definitions that the program applies before its charts to the mirror.
//
// Those of kube-prometheus-stack, the load balancer controller and RabbitMQ's operator come from upstream's Go modules
// and are the same bytes that the program pins. External Secrets' are upstream's, too, but of an older version, the
// newest that has a module; the fields that the program and the workloads use are in both versions. Redis's are
// written for the rehearsal, with the fields that its operator reads. The files that differ from those that the
// program pins have other checksums, which the rehearsal sets in the program's configuration.
package crds

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/supply/mirror"
)

//go:embed definitions
var definitions embed.FS

// github is the beginning of all URLs from which the program downloads definitions.
const github = "https://raw.githubusercontent.com/"

// embedded maps the releases whose definitions are in this package to the URLs from which the program downloads them.
var embedded = map[string]string{
	"redis-operator": github + "OT-CONTAINER-KIT/redis-operator/v0.26.0/charts/redis-operator/crds/crds.yaml",
}

// older holds, by release, the sources of definitions of an older version than the program's.
var older = map[string]source{
	"external-secrets": {
		"external-secrets", "github.com/external-secrets/external-secrets", "deploy/crds/bundle.yaml",
		github + "external-secrets/external-secrets/v2.9.0/deploy/crds/bundle.yaml",
	},
}

// pinned holds, by release, the sources of definitions that are the bytes that the program pins.
var pinned = map[string]source{
	"aws-load-balancer-controller": {
		"aws-load-balancer-controller", "sigs.k8s.io/aws-load-balancer-controller", "helm/aws-load-balancer-controller/crds/crds.yaml",
		github + "aws/eks-charts/v0.0.242/stable/aws-load-balancer-controller/crds/crds.yaml",
	},
	"kube-prometheus-stack": {
		"prometheus-operator", "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/*.yaml",
		github + "prometheus-operator/prometheus-operator/v0.93.1/example/prometheus-operator-crd/",
	},
	// The module is at v2.22.4, which has the same file.
	"rabbitmq-cluster-operator": {
		"rabbitmq-cluster-operator", "github.com/rabbitmq/cluster-operator/v2", "config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",
		github + "rabbitmq/cluster-operator/v2.22.3/config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",
	},
}

// source describes the files with definitions in a Go module.
type source struct {
	// build is the folder in rehearsal/supply/mirror/build that pins the module, module its path, and files a glob pattern
	// relative to the module.
	build, module, files string
	// url is the URL from which the program downloads the file. If there are several files, it is the URL of their
	// directory, with a slash at its end.
	url string
}

func (s source) find(ctx context.Context, repo string) ([]string, error) {
	dir, err := toolchain.ModuleDir(ctx, filepath.Join(repo, "rehearsal", "supply", "mirror", "build", s.build), s.module)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(s.files)))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the module %s has no %s", s.module, s.files)
	}
	return files, err
}

// Add adds the definitions to the mirror. repo is the path of the project's checkout. Add returns the checksums of the
// files that differ from those that the program pins, by their names in the program's setting mirror.sha256.
func Add(ctx context.Context, m mirror.Mirror, repo string) (checksums map[string]string, err error) {
	checksums = map[string]string{}
	serve := func(release, url string, data []byte) error {
		sum := sha256.Sum256(data)
		checksums[release] = hex.EncodeToString(sum[:])
		return m.AddFile(url, data)
	}
	for release, url := range embedded {
		data, err := definitions.ReadFile("definitions/" + release + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("reading the custom resources of %s: %w", release, err)
		}
		if err := serve(release, url, data); err != nil {
			return nil, err
		}
	}
	for release, s := range older {
		files, err := s.find(ctx, repo)
		if err != nil {
			return nil, fmt.Errorf("finding the custom resources of %s: %w", release, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			return nil, fmt.Errorf("reading the custom resources of %s: %w", release, err)
		}
		if err := serve(release, s.url, data); err != nil {
			return nil, err
		}
	}
	for release, s := range pinned {
		files, err := s.find(ctx, repo)
		if err != nil {
			return nil, fmt.Errorf("finding the custom resources of %s: %w", release, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading the custom resources of %s: %w", release, err)
			}
			url := s.url
			if strings.HasSuffix(url, "/") {
				url += filepath.Base(file)
			}
			if err := m.AddFile(url, data); err != nil {
				return nil, err
			}
		}
	}
	return checksums, nil
}
