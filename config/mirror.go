package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Mirror configures local copies of what the machines would otherwise download from the internet. Every field is
// optional.
type Mirror struct {
	// Files is the base URL, without a trailing slash, of a server that serves https://HOST/PATH at <files>/HOST/PATH:
	// packages, their keys, manifests, charts.
	Files string `json:"files"`
	// Images is the URL, without a trailing slash, of a mirror of every image registry. containerd requests /v2/… with
	// ?ns=<registry> from it.
	Images string `json:"images"`
	// SHA256 holds the checksums, in hexadecimal, of manifests that Files serves with other content than upstream's,
	// for example with other images. The key is the component or, for custom resource definitions, the release;
	// mirrorable lists all keys.
	SHA256 map[string]string `json:"sha256"`
	// Keys maps package repositories, "kubernetes" and "docker", to the fingerprint of the key that signs what Files
	// serves of them. Those that are not set have upstream's signature.
	Keys map[string]string `json:"keys"`
}

// mirrorable lists the manifests whose checksum mirror.sha256 may override. Releases whose custom resource definitions
// are several files are not among them, because there is one checksum per release.
var mirrorable = []string{
	"argocd", "aws-load-balancer-controller", "calico", "external-secrets", "rabbitmq-cluster-operator", "redis-operator",
}

var (
	sha256Sum   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fingerprint = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

// Checksum returns the checksum to expect of a manifest: the configured one if the mirror serves other content,
// otherwise the pinned one.
func (m Mirror) Checksum(name, pinned string) string {
	if sum, ok := m.SHA256[name]; ok {
		return sum
	}
	return pinned
}

// checkMirror reports malformed URLs, and checksums and fingerprints that would have no effect. It reports URLs without
// encryption in prod, and elsewhere warns about them: images and charts are not verified when they arrive.
func (r *report) checkMirror(m Mirror, environment Environment) {
	for _, field := range []struct{ key, value string }{{"mirror.files", m.Files}, {"mirror.images", m.Images}} {
		if field.value == "" {
			continue
		}
		u, err := url.Parse(field.value)
		switch {
		case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(field.value, "/"):
			r.problem(field.key, "%q must be an https URL without a trailing slash", field.value)
		case u.Scheme == "http" && environment == Prod:
			r.problem(field.key, "%q is not encrypted, so anybody on the way can replace what the cluster runs, which is "+
				"not allowed in prod; use https", field.value)
		case u.Scheme == "http":
			r.warning(field.key, "%q is not encrypted, so anybody on the way can replace what the cluster runs; use https",
				field.value)
		}
	}
	for _, component := range slices.Sorted(maps.Keys(m.SHA256)) {
		key, sum := "mirror.sha256."+component, m.SHA256[component]
		switch {
		case !slices.Contains(mirrorable, component):
			r.problem(key, "is not a manifest whose checksum can be set; those are %s", strings.Join(mirrorable, ", "))
		case !sha256Sum.MatchString(sum):
			r.problem(key, "%q is not a SHA-256 in hexadecimal, as sha256sum prints it", sum)
		case m.Files == "":
			r.problem(key, "is for a manifest that a mirror serves, and none is set; set %s too", r.key("mirror.files"))
		}
	}
	for _, repository := range slices.Sorted(maps.Keys(m.Keys)) {
		key, value := "mirror.keys."+repository, m.Keys[repository]
		_, known := signingKeys[repository]
		switch {
		case !known:
			r.problem(key, "is not a package repository; those are %s",
				strings.Join(slices.Sorted(maps.Keys(signingKeys)), ", "))
		case !fingerprint.MatchString(value):
			r.problem(key, "%q is not the fingerprint of an OpenPGP key; set its 40 hexadecimal digits as "+
				"`gpg --show-keys` prints them", value)
		case m.Files == "":
			r.problem(key, "is for a repository that a mirror serves, and none is set; set %s too", r.key("mirror.files"))
		}
	}
}
