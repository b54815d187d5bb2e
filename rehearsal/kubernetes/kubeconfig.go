package kubernetes

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// Endpoint is one cluster as a kubeconfig describes it.
type Endpoint struct {
	// Server is the API server's URL: https://203.0.113.7:6443.
	Server string
	// CA is the certificate authority that the server's certificate must come from, as the kubeconfig has
	// it after decoding.
	CA string
	// Context and Cluster are the names that the kubeconfig has for them.
	Context, Cluster string
	// Namespace is the context's, possibly empty.
	Namespace string
	// Kubeconfig is the whole text: a secret.
	Kubeconfig string
}

// errKubeconfig says no more than this: a parser's error quotes the line that it stumbled on.
var errKubeconfig = errors.New("the kubeconfig is not valid: it must be YAML with clusters, contexts and a current context that names them")

// ParseKubeconfig finds the cluster of a context; an empty context means the current one, and a cluster's
// name overrides the context's. The kubeconfig may be a path instead of the text, as in the real provider.
func ParseKubeconfig(kubeconfig, context, cluster string) (Endpoint, error) {
	if kubeconfig == "" {
		return Endpoint{}, errors.New("no kubeconfig is set: the rehearsal does not fall back to the one in your home directory")
	}
	if !strings.Contains(kubeconfig, "\n") {
		if text, err := os.ReadFile(kubeconfig); err == nil { //nolint:gosec // the program names its own file
			kubeconfig = string(text)
		}
	}
	var file struct {
		CurrentContext string `yaml:"current-context"`
		Contexts       []struct {
			Name    string
			Context struct{ Cluster, Namespace string }
		}
		Clusters []struct {
			Name    string
			Cluster struct {
				Server string
				CA     string `yaml:"certificate-authority-data"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(kubeconfig), &file); err != nil {
		return Endpoint{}, errKubeconfig
	}
	if context == "" {
		context = file.CurrentContext
	}
	endpoint := Endpoint{Context: context, Kubeconfig: kubeconfig}
	for _, c := range file.Contexts {
		if c.Name == context {
			endpoint.Namespace = c.Context.Namespace
			if cluster == "" {
				cluster = c.Context.Cluster
			}
		}
	}
	for _, c := range file.Clusters {
		if c.Name == cluster && c.Cluster.Server != "" {
			ca, err := base64.StdEncoding.DecodeString(c.Cluster.CA)
			if err != nil {
				return Endpoint{}, errKubeconfig
			}
			endpoint.Cluster, endpoint.Server, endpoint.CA = cluster, c.Cluster.Server, string(ca)
			return endpoint, nil
		}
	}
	return Endpoint{}, errKubeconfig
}

// digest is the first n characters of the SHA-256 of a text, in hex.
func digest(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:n]
}
