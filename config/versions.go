package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Versions pins what the machines and the cluster run. A stack may override each; which fit together is
// checked, and a manifest is only known here with its checksum.
type Versions struct {
	Kubernetes string `json:"kubernetes"`
	Containerd string `json:"containerd"`
	Calico     string `json:"calico"`
	ArgoCD     string `json:"argocd"`
	// Untested says that the stack knows that its Calico or Argo CD was not tested on its Kubernetes.
	Untested bool `json:"untested"`
}

// DefaultVersions are the newest that their makers tested together: Calico 3.32 and Argo CD 3.5 both
// name Kubernetes 1.36, which asks for containerd 2.2 or later.
var DefaultVersions = Versions{
	Kubernetes: "1.36.4",
	Containerd: "2.3.4",
	Calico:     "v3.32.1",
	ArgoCD:     "v3.5.1",
}

// Manifest is a file of Kubernetes objects at a pinned version.
type Manifest struct {
	URL string
	// SHA256 is of the file that the tag serves, in hexadecimal.
	SHA256 string
	// Kubernetes are the minor versions on which its makers tested it.
	Kubernetes []string
}

// calico is the variant of the manifest with the VXLAN backend and without BIRD. The versions are those
// of Calico's system requirements.
var calico = map[string]Manifest{
	"v3.32.1": {
		URL:        "https://raw.githubusercontent.com/projectcalico/calico/v3.32.1/manifests/calico-vxlan.yaml",
		SHA256:     "c2ab4f9a4ecde01d66e6f040d6745cd7f174d5ded573164c809ffb9f40a9d566",
		Kubernetes: []string{"1.34", "1.35", "1.36"},
	},
	// The newest that can be built from its Go module, as the rehearsal does.
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

// argoCD is the install manifest that is not highly available: one control plane carries it. The
// versions are those of Argo CD's table of tested Kubernetes versions.
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

// kubernetesMinor is what a minor version of Kubernetes brings with it.
type kubernetesMinor struct {
	// Pause is the sandbox image that its kubeadm expects.
	Pause string
	// Containerd are the minor versions that containerd's release notes name for it.
	Containerd []string
}

var kubernetes = map[string]kubernetesMinor{
	"1.36": {Pause: "3.10.2", Containerd: []string{"2.2", "2.3"}},
	"1.35": {Pause: "3.10.1", Containerd: []string{"2.2", "2.3"}},
}

// Minor is the Kubernetes version without its patch level: "1.36".
func (v Versions) Minor() string { return minor(v.Kubernetes) }

// Pause is the tag of the sandbox image.
func (v Versions) Pause() string { return kubernetes[v.Minor()].Pause }

// CalicoManifest is the pinned manifest of the chosen Calico.
func (c Config) CalicoManifest() Manifest { return c.pinned("calico", calico[c.Versions.Calico]) }

// ArgoCDManifest is the pinned manifest of the chosen Argo CD.
func (c Config) ArgoCDManifest() Manifest { return c.pinned("argocd", argoCD[c.Versions.ArgoCD]) }

// pinned is a component's manifest with the checksum of the mirror's, where the mirror serves its own.
func (c Config) pinned(component string, m Manifest) Manifest {
	m.SHA256 = c.Mirror.Checksum(component, m.SHA256)
	return m
}

var semver = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

func minor(version string) string {
	version = strings.TrimPrefix(version, "v")
	if i := strings.LastIndexByte(version, '.'); i > 0 {
		return version[:i]
	}
	return version
}

func (l *loader) versions(c *Config) {
	v := &c.Versions
	for _, field := range []struct {
		value    *string
		fallback string
	}{
		{&v.Kubernetes, DefaultVersions.Kubernetes}, {&v.Containerd, DefaultVersions.Containerd},
		{&v.Calico, DefaultVersions.Calico}, {&v.ArgoCD, DefaultVersions.ArgoCD},
	} {
		if *field.value == "" {
			*field.value = field.fallback
		}
	}
	known := slices.Sorted(maps.Keys(kubernetes))
	release, ok := kubernetes[v.Minor()]
	switch {
	case !semver.MatchString(v.Kubernetes):
		l.problem("versions.kubernetes", "%q is not a version such as %s", v.Kubernetes, DefaultVersions.Kubernetes)
	case !ok:
		l.problem("versions.kubernetes", "%s is not among the tried minor versions %s", v.Kubernetes, strings.Join(known, ", "))
	case !semver.MatchString(v.Containerd):
		l.problem("versions.containerd", "%q is not a version such as %s", v.Containerd, DefaultVersions.Containerd)
	case !slices.Contains(release.Containerd, minor(v.Containerd)):
		l.problem("versions.containerd", "%s does not carry Kubernetes %s; take one of %s",
			v.Containerd, v.Kubernetes, strings.Join(release.Containerd, ", "))
	}
	// A Kubernetes that is unknown fits nothing, and is reported already.
	l.manifest(c, "versions.calico", "Calico", v.Calico, calico, ok)
	l.manifest(c, "versions.argocd", "Argo CD", v.ArgoCD, argoCD, ok)
}

func (l *loader) manifest(c *Config, key, name, version string, known map[string]Manifest, checkFit bool) {
	manifest, ok := known[version]
	switch {
	case !ok:
		l.problem(key, "%q has no pinned manifest; take one of %s", version, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	case checkFit && !slices.Contains(manifest.Kubernetes, c.Versions.Minor()):
		unfit := fmt.Sprintf("%s %s is tested on Kubernetes %s, not on %s",
			name, version, strings.Join(manifest.Kubernetes, ", "), c.Versions.Kubernetes)
		if c.Versions.Untested {
			c.Warnings = append(c.Warnings, l.key(key)+": "+unfit)
		} else {
			l.problem(key, "%s; to run it all the same, set %s to true", unfit, l.key("versions.untested"))
		}
	}
}
