package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	"eco2/config"
	"eco2/infra"
)

// encryptionConfig is where init.sh puts the key that encrypts secrets in etcd.
const encryptionConfig = "/etc/kubernetes/encryption.yaml"

// object is a Kubernetes object as it is written. Go sorts its keys, so the text is the same every time.
type object map[string]any

type namedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// initConfiguration is kubeadm's whole input on the control plane, with what is only known once the
// machine is there: its addresses and its id. JSON is YAML, and needs no template.
func initConfiguration(c config.Config, node *infra.Node, privateIP, publicIP, providerID string) (string, error) {
	taints := []object{
		// Named here, because kubeadm adds its own taint only to a node that asks for none.
		{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
	}
	for _, t := range node.Taints {
		taints = append(taints, object{"key": t.Key, "value": t.Value, "effect": t.Effect})
	}
	documents := []object{
		{
			"apiVersion": "kubeadm.k8s.io/v1beta4",
			"kind":       "InitConfiguration",
			// kubeadm makes a token in any case, for a day unless told otherwise. Joins mint their own.
			"bootstrapTokens":  []object{{"ttl": "1m0s"}},
			"localAPIEndpoint": object{"advertiseAddress": privateIP, "bindPort": 6443},
			"nodeRegistration": object{
				"name":      node.Name,
				"criSocket": "unix:///run/containerd/containerd.sock",
				"taints":    taints,
				"kubeletExtraArgs": []namedValue{
					{"node-labels", pairs(node.Labels)},
					// From the instance itself: what a machine says of itself, or a controller guesses
					// later, cannot be corrected once it is written.
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
			// Both serve their metrics on the loopback address alone, which is kubeadm's default.
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
			// The port that answers everyone, without asking who they are.
			"readOnlyPort": 0,
			// The kubelet serves with a certificate of the cluster's authority, which approve.sh approves. One that it
			// signs itself nobody can verify.
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
