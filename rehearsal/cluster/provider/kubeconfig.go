package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// Endpoint describes the cluster that a kubeconfig's context selects.
type Endpoint struct {
	// Server is the API server's URL, such as https://203.0.113.7:6443.
	Server string
	// CA is the decoded certificate-authority-data: the authority that must have issued the server's certificate.
	CA string
	// Context and Cluster are the names of both in the kubeconfig.
	Context, Cluster string
	// Namespace is the context's namespace; may be empty.
	Namespace string
	// Kubeconfig is the whole text, which is secret.
	Kubeconfig string
}

// errKubeconfig does not wrap the parser's error, which would quote a line of the kubeconfig.
var errKubeconfig = errors.New("the kubeconfig is not valid: it must be YAML with clusters, contexts and a current context that names them")

// ParseKubeconfig returns the endpoint of a context. An empty context means the current one, and a non-empty cluster
// overrides the context's. The kubeconfig may be a path instead of the text, as in the real provider.
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

// digest returns the first n hexadecimal digits of the text's SHA-256.
func digest(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:n]
}
