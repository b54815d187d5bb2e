package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A version that upstream has not tested with this Kubernetes version can be permitted, with a warning.
func TestUntestedVersionsCanBePermitted(t *testing.T) {
	s := newStack(t, values{"versions": values{"argocd": "v3.4.7", "untested": true}})
	c := s.mustLoad(t)
	assert.Contains(t, c.ArgoCDManifest().URL, "argo-cd/v3.4.7/manifests/install.yaml")
	assert.Equal(t, []string{
		"eco2:versions.argocd: Argo CD v3.4.7 is tested on Kubernetes 1.32, 1.33, 1.34, 1.35, not on 1.36.5",
	}, s.warnings)
}

// Each supported minor version of Kubernetes has the sandbox image that its kubeadm expects.
func TestPauseBelongsToTheKubernetesVersion(t *testing.T) {
	for version, pause := range map[string]string{"1.37.2": "3.10.2", "1.36.5": "3.10.2", "1.35.0": "3.10.1"} {
		c := newStack(t, values{"versions": values{"kubernetes": version, "untested": true}}).mustLoad(t)
		assert.Equal(t, pause, c.Versions.Pause(), version)
	}
}

// A mirror's checksum replaces the pinned one of its own manifest only.
func TestManifestsHaveTheMirrorsChecksum(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	mirror := values{"files": "https://mirror.example", "sha256": values{"calico": sum}}
	c := newStack(t, values{"mirror": mirror}).mustLoad(t)
	assert.Equal(t, sum, c.CalicoManifest().SHA256)
	assert.Equal(t, argoCD[DefaultVersions.ArgoCD].SHA256, c.ArgoCDManifest().SHA256)
}

// A mirror's key replaces the pinned one of its own repository only.
func TestRepositoriesHaveTheMirrorsKey(t *testing.T) {
	key := strings.Repeat("0123456789ABCDEF0123", 2)
	mirror := values{"files": "https://mirror.example", "keys": values{"docker": key}}
	c := newStack(t, values{"mirror": mirror}).mustLoad(t)
	assert.Equal(t, key, c.SigningKey("docker"))
	assert.Equal(t, signingKeys["kubernetes"], c.SigningKey("kubernetes"))
	for repository, pinned := range signingKeys {
		assert.Regexp(t, fingerprint, pinned, repository)
	}
}
