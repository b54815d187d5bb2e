package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	"eco2/config"
	"eco2/infra"
)

const (
	// encryptionConfig is the path of the file in which init.sh stores the key that encrypts secrets in etcd.
	encryptionConfig = "/etc/kubernetes/encryption.yaml"
	// apiServerDir is the directory in which init.sh installs the API server's files: see controlPlaneFiles.
	apiServerDir = "/etc/kubernetes/api-server"
	// auditLogDir is the directory of the API server's audit log.
	auditLogDir = "/var/log/kubernetes"
	// maxProcesses limits the processes and threads of one pod, so that a fork bomb does not take its node down. A JVM or
	// Erlang node has some hundreds.
	maxProcesses = 4096
)

// cipherSuites lists the suites for TLS 1.2 of Mozilla's intermediate configuration that Go has: those with forward
// secrecy and authenticated encryption. Those of TLS 1.3 cannot be configured.
var cipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// object is a Kubernetes object before encoding. Go's JSON encoder sorts the keys, so the result is deterministic.
type object map[string]any

type namedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// controlPlaneFiles returns what init.sh reads from standard input: the configuration of kubeadm, and the files in
// manifests/control-plane: the API server's files for admission, auditing and authentication, and nodes.yaml, an
// admission policy.
func controlPlaneFiles(kubeadm string) (string, error) {
	files := map[string]string{"kubeadm.yaml": kubeadm}
	for _, name := range []string{"admission.yaml", "audit.yaml", "authentication.yaml", "nodes.yaml"} {
		text, err := manifest("control-plane/"+name, nil)
		if err != nil {
			return "", err
		}
		files[name] = text
	}
	return bundle(files), nil
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
	// of a component of the control plane, all of which have these
	arguments := func(more ...namedValue) []namedValue {
		return append([]namedValue{
			{"profiling", "false"},
			{"tls-min-version", "VersionTLS12"},
			{"tls-cipher-suites", strings.Join(cipherSuites, ",")},
		}, more...)
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
				"extraArgs": arguments(
					namedValue{"encryption-provider-config", encryptionConfig},
					namedValue{"admission-control-config-file", apiServerDir + "/admission.yaml"},
					namedValue{"authentication-config", apiServerDir + "/authentication.yaml"},
					// kubeadm's default and one more: with external IPs, a Service could take over traffic to any address.
					namedValue{"enable-admission-plugins", "NodeRestriction,DenyServiceExternalIPs"},
					namedValue{"audit-policy-file", apiServerDir + "/audit.yaml"},
					namedValue{"audit-log-path", auditLogDir + "/audit.log"},
					namedValue{"audit-log-maxage", "30"},   // days
					namedValue{"audit-log-maxsize", "100"}, // MB of a file
					namedValue{"audit-log-maxbackup", "10"},
					// The API server verifies kubelets by their serving certificates: see serverTLSBootstrap.
					namedValue{"kubelet-certificate-authority", "/etc/kubernetes/pki/ca.crt"},
					// Otherwise a pod's token, which its pod renews every hour, would be valid for a year.
					namedValue{"service-account-extend-token-expiration", "false"},
					// When the API server stops, it ends its clients' watches within this time. Otherwise it waits for them
					// until the kubelet kills it after 30 s, at each restart by an upgrade or by another configuration.
					namedValue{"shutdown-watch-termination-grace-period", "10s"},
				),
				"extraVolumes": []object{
					{
						"name": "encryption", "hostPath": encryptionConfig, "mountPath": encryptionConfig,
						"readOnly": true, "pathType": "File",
					},
					{
						"name": "api-server", "hostPath": apiServerDir, "mountPath": apiServerDir,
						"readOnly": true, "pathType": "Directory",
					},
					{
						"name": "audit-log", "hostPath": auditLogDir, "mountPath": auditLogDir,
						"pathType": "DirectoryOrCreate",
					},
				},
			},
			// Both serve their metrics only on the loopback address, which is kubeadm's default.
			"controllerManager": object{"extraArgs": arguments()},
			"scheduler":         object{"extraArgs": arguments()},
			"etcd": object{"local": object{"extraArgs": []namedValue{
				{"tls-min-version", "TLS1.2"},
				{"cipher-suites", strings.Join(cipherSuites, ",")},
			}}},
		},
		kubeletConfiguration(),
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

// kubeletConfiguration returns the configuration of all kubelets.
func kubeletConfiguration() object {
	return object{
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
		"tlsMinVersion":      "VersionTLS12",
		"tlsCipherSuites":    cipherSuites,
		// The container runtime's filter of system calls, also for pods that do not ask for it.
		"seccompDefault": true,
		"podPidsLimit":   maxProcesses,
		// The kubelet does not start with kernel settings other than those that prepare.sh makes.
		"protectKernelDefaults": true,
	}
}
