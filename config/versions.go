package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Versions holds the versions of what the machines and the cluster run. A stack may override each; they default to
// DefaultVersions.
type Versions struct {
	// Kubernetes is any patch version of a minor version in the map kubernetes, such as 1.36.5.
	Kubernetes string `json:"kubernetes"`
	// Containerd is any patch version of a minor version that supports this Kubernetes version, such as 2.3.7.
	Containerd string `json:"containerd"`
	// Calico is a key of the map calico: only manifests with a pinned checksum are installed.
	Calico string `json:"calico"`
	// ArgoCD is a key of the map argoCD, likewise.
	ArgoCD string `json:"argocd"`
	// AllowUntested permits a Calico or Argo CD version that upstream has not tested with this Kubernetes version.
	// There is a warning instead of an error.
	AllowUntested bool `json:"untested"`
}

// DefaultVersions holds the newest versions that upstream tested together: Calico 3.32 and Argo CD 3.5 both list
// Kubernetes 1.36, which requires containerd 2.2 or later.
var DefaultVersions = Versions{
	Kubernetes: "1.36.5",
	Containerd: "2.3.7",
	Calico:     "v3.32.1",
	ArgoCD:     "v3.5.1",
}

// Manifest is a file of Kubernetes objects at a pinned version.
type Manifest struct {
	URL string
	// SHA256 is the checksum of the file at URL, in hexadecimal.
	SHA256 string
	// Kubernetes lists the minor versions with which upstream tested it.
	Kubernetes []string
}

// calico maps versions of Calico to their manifests: the variant with the VXLAN backend and without BIRD. The
// Kubernetes versions are those in Calico's system requirements.
var calico = map[string]Manifest{
	"v3.32.1": {
		URL:        "https://raw.githubusercontent.com/projectcalico/calico/v3.32.1/manifests/calico-vxlan.yaml",
		SHA256:     "c2ab4f9a4ecde01d66e6f040d6745cd7f174d5ded573164c809ffb9f40a9d566",
		Kubernetes: []string{"1.34", "1.35", "1.36"},
	},
	// This is the newest version that can be built from its Go module, as the rehearsal does.
	"v3.31.0": {
		URL:        "https://raw.githubusercontent.com/projectcalico/calico/v3.31.0/manifests/calico-vxlan.yaml",
		SHA256:     "0f7dc29b56dafe1d9566991d008a7944f5a319ab3e5fa9caccfb0d7d778fcdd7",
		Kubernetes: []string{"1.32", "1.33", "1.34", "1.35"},
	},
	"v3.31.7": {
		URL:        "https://raw.githubusercontent.com/projectcalico/calico/v3.31.7/manifests/calico-vxlan.yaml",
		SHA256:     "324475bc90d0fc6b432092b91a011190fdaed47823fcc936762ea58507c6a5a3",
		Kubernetes: []string{"1.32", "1.33", "1.34", "1.35"},
	},
}

// argoCD maps versions of Argo CD to their install manifests: the variant without high availability, since it runs on
// one control plane. The Kubernetes versions are those in Argo CD's table of tested versions.
var argoCD = map[string]Manifest{
	"v3.5.1": {
		URL:        "https://raw.githubusercontent.com/argoproj/argo-cd/v3.5.1/manifests/install.yaml",
		SHA256:     "795a3a972224da6a7f9d32c3e946445f062b60fb46028476715affeb688236e3",
		Kubernetes: []string{"1.33", "1.34", "1.35", "1.36"},
	},
	"v3.4.7": {
		URL:        "https://raw.githubusercontent.com/argoproj/argo-cd/v3.4.7/manifests/install.yaml",
		SHA256:     "11016889371e4b1e3754b7ba2494b36ab1111338bd2362d499abe3ff2f63c906",
		Kubernetes: []string{"1.32", "1.33", "1.34", "1.35"},
	},
}

// signingKeys maps the package repositories to the OpenPGP fingerprints of the keys that sign them. It has no checksums
// of the files with these keys: upstream renews a key before it expires, which changes the file and not the fingerprint.
var signingKeys = map[string]string{
	"kubernetes": "DE15B14486CD377B9E876E1A234654DA9A296436",
	"docker":     "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
}

// kubernetesMinor holds the versions that belong to a minor version of Kubernetes.
type kubernetesMinor struct {
	// Pause is the tag of the sandbox image that kubeadm of this version expects.
	Pause string
	// Containerd lists the minor versions of containerd whose release notes list this Kubernetes version.
	Containerd []string
}

// kubernetes maps the supported minor versions of Kubernetes to the versions that belong to them.
var kubernetes = map[string]kubernetesMinor{
	"1.37": {Pause: "3.10.2", Containerd: []string{"2.3", "2.4"}},
	"1.36": {Pause: "3.10.2", Containerd: []string{"2.2", "2.3"}},
	"1.35": {Pause: "3.10.1", Containerd: []string{"2.2", "2.3"}},
}

// minor returns the Kubernetes version without its patch level, such as "1.36".
func (v Versions) minor() string { return minor(v.Kubernetes) }

// Pause returns the tag of the sandbox image for the Kubernetes version.
func (v Versions) Pause() string { return kubernetes[v.minor()].Pause }

// CalicoManifest returns the manifest of the configured Calico version.
func (c Config) CalicoManifest() Manifest { return c.pinned("calico", calico[c.Versions.Calico]) }

// ArgoCDManifest returns the manifest of the configured Argo CD version.
func (c Config) ArgoCDManifest() Manifest { return c.pinned("argocd", argoCD[c.Versions.ArgoCD]) }

// pinned returns a component's manifest with the checksum to expect, which mirror.sha256 may override.
func (c Config) pinned(component string, m Manifest) Manifest {
	m.SHA256 = c.Mirror.Checksum(component, m.SHA256)
	return m
}

// SigningKey returns the fingerprint of the key that signs a package repository, "kubernetes" or "docker": the
// configured one if the mirror signs it, otherwise the pinned one.
func (c Config) SigningKey(repository string) string {
	return cmp.Or(c.Mirror.Keys[repository], signingKeys[repository])
}

var semver = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

func minor(version string) string {
	version = strings.TrimPrefix(version, "v")
	if i := strings.LastIndexByte(version, '.'); i > 0 {
		return version[:i]
	}
	return version
}

// checkVersions reports versions that are not supported, not compatible, or not pinned. It warns about combinations
// that upstream has not tested, if the stack permits them.
func (r *report) checkVersions(v Versions) {
	known := slices.Sorted(maps.Keys(kubernetes))
	release, ok := kubernetes[v.minor()]
	switch {
	case !semver.MatchString(v.Kubernetes):
		r.problem("versions.kubernetes", "%q is not a version such as %s", v.Kubernetes, DefaultVersions.Kubernetes)
	case !ok:
		r.problem("versions.kubernetes", "%s is not a supported version; use a patch version of %s",
			v.Kubernetes, strings.Join(known, " or "))
	case !semver.MatchString(v.Containerd):
		r.problem("versions.containerd", "%q is not a version such as %s", v.Containerd, DefaultVersions.Containerd)
	case !slices.Contains(release.Containerd, minor(v.Containerd)):
		r.problem("versions.containerd", "%s does not support Kubernetes %s; use a patch version of %s",
			v.Containerd, v.Kubernetes, strings.Join(release.Containerd, " or "))
	}
	r.checkManifest(v, "versions.calico", "Calico", v.Calico, calico)
	r.checkManifest(v, "versions.argocd", "Argo CD", v.ArgoCD, argoCD)
}

// checkManifest checks the version of a component of the cluster. known maps the pinned versions to their manifests.
func (r *report) checkManifest(v Versions, key, name, version string, known map[string]Manifest) {
	manifest, pinned := known[version]
	_, supported := kubernetes[v.minor()] // an unsupported Kubernetes version is already reported
	switch {
	case !pinned:
		r.problem(key, "%q has no pinned manifest; use one of %s",
			version, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	case supported && !slices.Contains(manifest.Kubernetes, v.minor()):
		untested := fmt.Sprintf("%s %s is tested on Kubernetes %s, not on %s",
			name, version, strings.Join(manifest.Kubernetes, ", "), v.Kubernetes)
		if v.AllowUntested {
			r.warning(key, "%s", untested)
		} else {
			r.problem(key, "%s; to use it anyway, set %s to true", untested, r.key("versions.untested"))
		}
	}
}
