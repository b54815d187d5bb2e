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
}

// mirrorable lists the manifests whose checksum mirror.sha256 may override. Releases whose custom resource definitions
// are several files are not among them, because there is one checksum per release.
var mirrorable = []string{
	"argocd", "aws-load-balancer-controller", "calico", "external-secrets", "rabbitmq-cluster-operator", "redis-operator",
}

var sha256Sum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Checksum returns the checksum to expect of a manifest: the configured one if the mirror serves other content,
// otherwise the pinned one.
func (m Mirror) Checksum(name, pinned string) string {
	if sum, ok := m.SHA256[name]; ok {
		return sum
	}
	return pinned
}

// checkMirror reports malformed URLs, and checksums that would have no effect.
func (r *report) checkMirror(m Mirror) {
	for _, field := range []struct{ key, value string }{{"mirror.files", m.Files}, {"mirror.images", m.Images}} {
		if field.value == "" {
			continue
		}
		u, err := url.Parse(field.value)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.HasSuffix(field.value, "/") {
			r.problem(field.key, "%q must be an http or https URL without a trailing slash", field.value)
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
}
