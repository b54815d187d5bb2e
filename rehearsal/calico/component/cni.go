package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"eco2/rehearsal/calico"
	"eco2/rehearsal/calico/vxlan"
)

// Where the manifest mounts the node's directories of CNI.
const (
	cniPlugins = "/host/opt/cni/bin"
	cniConfigs = "/host/etc/cni/net.d"
)

// What cni_network_config of ConfigMap calico-config has in the place of what differs between nodes.
const (
	podCIDRMark = "__POD_CIDR__"
	mtuMark     = "__CNI_MTU__"
)

// InstallCNI runs before calico-node, as its init container install-cni. It waits until Kubernetes has
// given the node a pod network, then puts our plugin beside those that the node has from a package, and writes
// its CNI configuration, with which the container runtime finds its network ready.
func InstallCNI(ctx context.Context) error {
	mtu, err := readMTU(os.Getenv("CNI_MTU"))
	if err != nil {
		return fmt.Errorf("reading CNI_MTU: %w", err)
	}
	api, err := Connect()
	if err != nil {
		return err
	}
	self, err := api.awaitNode(ctx, os.Getenv("KUBERNETES_NODE_NAME"))
	if err != nil {
		return err
	}
	if mtu, err = (vxlan.DataPlane{MTU: mtu}).PodMTU(self.Address); err != nil {
		return err
	}
	if err := installPlugin(calico.Plugin, filepath.Join(cniPlugins, filepath.Base(calico.Plugin))); err != nil {
		return err
	}
	config := fillConfig(os.Getenv("CNI_NETWORK_CONFIG"), self, mtu)
	if err := checkPlugins(cniPlugins, config); err != nil {
		return err
	}
	slog.Info("configuring CNI", "node", self.Name, "podCIDR", self.PodCIDR, "mtu", mtu)
	return writeConfig(filepath.Join(cniConfigs, os.Getenv("CNI_CONF_NAME")), config)
}

// awaitNode returns the node once it has a pod network and an address. Until then it asks every second;
// the API server may be out of reach too, as kube-proxy starts at the same time.
func (a API) awaitNode(ctx context.Context, name string) (vxlan.Node, error) {
	var told string
	for {
		node, err := a.node(ctx, name)
		if err == nil {
			var self vxlan.Node
			if self, err = describe(node); err == nil {
				return self, nil
			}
		}
		if ctx.Err() != nil {
			return vxlan.Node{}, ctx.Err()
		}
		if err.Error() != told {
			told = err.Error()
			slog.Info("waiting for the pod network of this node", "because", err)
		}
		select {
		case <-ctx.Done():
			return vxlan.Node{}, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func fillConfig(text string, self vxlan.Node, mtu int) []byte {
	return []byte(strings.NewReplacer(podCIDRMark, self.PodCIDR.String(), mtuMark, strconv.Itoa(mtu)).Replace(text))
}

// checkPlugins makes sure that the plugins which the configuration names are in the directory. Otherwise
// the node would become ready, and no pod on it would start.
func checkPlugins(dir string, config []byte) error {
	var list struct {
		Plugins []struct {
			Type string `json:"type"`
			IPAM struct {
				Type string `json:"type"`
			} `json:"ipam"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal(config, &list); err != nil {
		return fmt.Errorf("reading CNI_NETWORK_CONFIG, which is cni_network_config of ConfigMap calico-config: %w", err)
	}
	var missing []error
	for _, plugin := range list.Plugins {
		for _, name := range []string{plugin.Type, plugin.IPAM.Type} {
			if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, fmt.Errorf("the node has no CNI plugin %s in /opt/cni/bin; the package kubernetes-cni has it", name))
			}
		}
	}
	return errors.Join(missing...)
}

// installPlugin copies the plugin, which may be running at that moment in its version before.
func installPlugin(from, to string) error {
	program, err := os.ReadFile(from)
	if err == nil {
		err = replace(to, program, 0o755)
	}
	if err != nil {
		return fmt.Errorf("installing the CNI plugin: %w", err)
	}
	return nil
}

func writeConfig(path string, config []byte) error {
	if err := replace(path, config, 0o600); err != nil {
		return fmt.Errorf("writing the node's CNI configuration: %w", err)
	}
	return nil
}

// replace makes the file appear as a whole: the container runtime watches its directory, and skips names that
// do not end as a configuration's does.
func replace(path string, content []byte, mode fs.FileMode) error {
	half := path + ".new"
	if err := os.WriteFile(half, content, mode); err != nil {
		return err
	}
	return os.Rename(half, path)
}
