// Package crds gives the mirror the custom resource definitions that the program applies before its charts.
//
// Those of kube-prometheus-stack, the load balancer controller and RabbitMQ's operator are upstream's bytes that the
// program pins, from Go modules. External Secrets' are upstream's too, of an older version, the newest that has a
// module: the fields that the program and the workloads use are in both. Those of Redis are ours, with the fields that the
// rehearsal's controller reads. What is not the bytes that the program pins has another checksum, which the program is
// told.
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

	"eco2/rehearsal/mirror"
	"eco2/rehearsal/toolchain"
)

//go:embed definitions
var definitions embed.FS

// github is where all that the program downloads is.
const github = "https://raw.githubusercontent.com/"

// ours are definitions in this package, by release: where the program downloads them.
var ours = map[string]string{
	"redis-operator": github + "OT-CONTAINER-KIT/redis-operator/v0.26.0/charts/redis-operator/crds/crds.yaml",
}

// older are definitions of another version, by release.
var older = map[string]source{
	"external-secrets": {
		"external-secrets", "github.com/external-secrets/external-secrets", "deploy/crds/bundle.yaml",
		github + "external-secrets/external-secrets/v2.9.0/deploy/crds/bundle.yaml",
	},
}

// pinned are definitions that are what the program pins, by release.
var pinned = map[string]source{
	"aws-load-balancer-controller": {
		"aws-load-balancer-controller", "sigs.k8s.io/aws-load-balancer-controller", "helm/aws-load-balancer-controller/crds/crds.yaml",
		github + "aws/eks-charts/v0.0.242/stable/aws-load-balancer-controller/crds/crds.yaml",
	},
	"kube-prometheus-stack": {
		"prometheus-operator", "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/*.yaml",
		github + "prometheus-operator/prometheus-operator/v0.93.1/example/prometheus-operator-crd/",
	},
	// v2.22.4 changed nothing in it.
	"rabbitmq-cluster-operator": {
		"rabbitmq-cluster-operator", "github.com/rabbitmq/cluster-operator/v2", "config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",
		github + "rabbitmq/cluster-operator/v2.22.3/config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",
	},
}

// source is files in a module.
type source struct {
	// build is the folder of rehearsal/mirror/build that pins the module, and files a pattern below the module.
	build, module, files string
	// url is where the program downloads the file, or the directory of several, with a slash at its end.
	url string
}

func (s source) find(ctx context.Context, repo string) ([]string, error) {
	dir, err := toolchain.ModuleDir(ctx, filepath.Join(repo, "rehearsal", "mirror", "build", s.build), s.module)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(s.files)))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the module %s has no %s", s.module, s.files)
	}
	return files, err
}

// Add serves the definitions. repo is the project's checkout. The checksums are of those that differ from what the
// program pins, by the name that its setting mirror.sha256 has for each.
func Add(ctx context.Context, m mirror.Mirror, repo string) (checksums map[string]string, err error) {
	checksums = map[string]string{}
	serve := func(release, url string, data []byte) error {
		sum := sha256.Sum256(data)
		checksums[release] = hex.EncodeToString(sum[:])
		return m.AddFile(url, data)
	}
	for release, url := range ours {
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
