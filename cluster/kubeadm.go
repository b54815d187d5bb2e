package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	"eco2/config"
	"eco2/infra"
)

// encryptionConfig is the path of the file in which init.sh stores the key that encrypts secrets in etcd.
const encryptionConfig = "/etc/kubernetes/encryption.yaml"

// object is a Kubernetes object before encoding. Go's JSON encoder sorts the keys, so the result is deterministic.
type object map[string]any

type namedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// initConfiguration returns the complete configuration of kubeadm on the control plane. Some of it is known only once
// the machine exists: its addresses and its provider ID. The result is JSON, which is valid YAML and needs no template.
func initConfiguration(c config.Config, node *infra.Node, privateIP, publicIP, providerID string) (string, error) {
	taints := []object{
		// Listed here, because kubeadm adds its own taint only if the configuration has no taints.
		{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
	}
	for _, t := range node.Taints {
		taints = append(taints, object{"key": t.Key, "value": t.Value, "effect": t.Effect})
	}
	documents := []object{
		{
			"apiVersion": "kubeadm.k8s.io/v1beta4",
			"kind":       "InitConfiguration",
			// kubeadm creates a token in any case, by default for a day. Each join creates its own instead.
			"bootstrapTokens":  []object{{"ttl": "1m0s"}},
			"localAPIEndpoint": object{"advertiseAddress": privateIP, "bindPort": 6443},
			"nodeRegistration": object{
				"name":      node.Name,
				"criSocket": "unix:///run/containerd/containerd.sock",
				"taints":    taints,
				"kubeletExtraArgs": []namedValue{
					{"node-labels", pairs(node.Labels)},
					// Taken from the instance resource, because a provider ID cannot be changed once it is set:
					// not one that the machine reports itself, nor one that a controller guesses later.
					{"provider-id", providerID},
				},
			},
		},
		{
			"apiVersion":           "kubeadm.k8s.io/v1beta4",
			"kind":                 "ClusterConfiguration",
			"clusterName":          c.Name,
			"kubernetesVersion":    "v" + c.Versions.Kubernetes,
			"controlPlaneEndpoint": privateIP + ":6443",
			"networking": object{
				"podSubnet":     c.PodCidr.String(),
				"serviceSubnet": c.ServiceCidr.String(),
				"dnsDomain":     "cluster.local",
			},
			"apiServer": object{
				"certSANs": []string{publicIP, privateIP, node.Name},
				"extraArgs": []namedValue{
					{"encryption-provider-config", encryptionConfig},
					{"profiling", "false"},
				},
				"extraVolumes": []object{{
					"name": "encryption", "hostPath": encryptionConfig, "mountPath": encryptionConfig,
					"readOnly": true, "pathType": "File",
				}},
			},
			// Both serve their metrics only on the loopback address, which is kubeadm's default.
			"controllerManager": object{"extraArgs": []namedValue{{"profiling", "false"}}},
			"scheduler":         object{"extraArgs": []namedValue{{"profiling", "false"}}},
		},
		{
			"apiVersion": "kubelet.config.k8s.io/v1beta1",
			"kind":       "KubeletConfiguration",
			"authentication": object{
				"anonymous": object{"enabled": false},
				"webhook":   object{"enabled": true},
			},
			"authorization": object{"mode": "Webhook"},
			// This port would serve requests without authentication.
			"readOnlyPort": 0,
			// The kubelet requests a serving certificate from the cluster's certificate authority, and approve.sh
			// approves the request. Nobody could verify a self-signed certificate.
			"serverTLSBootstrap": true,
		},
	}
	var text []string
	for _, document := range documents {
		data, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			return "", fmt.Errorf("writing the kubeadm configuration: %w", err)
		}
		text = append(text, string(data)+"\n")
	}
	return strings.Join(text, "---\n"), nil
}
