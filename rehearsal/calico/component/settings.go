package component

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"eco2/rehearsal/calico/vxlan"
)

// settings are what the container calico-node is told in its environment.
type settings struct {
	node  string
	plane vxlan.DataPlane
}

// readSettings reads the variables of upstream's manifest. What would mean something else to Calico than
// to its stand-in is refused, all of it at once: a rehearsal must not pass with settings that it ignored.
func readSettings(env func(string) string) (settings, error) {
	var problems []error
	refuse := func(variable, why string) {
		problems = append(problems, fmt.Errorf("%s is %q: %s", variable, env(variable), why))
	}
	s := settings{node: env("NODENAME")}
	if s.node == "" {
		refuse("NODENAME", "the name of the Node is needed")
	}
	if env("CALICO_NETWORKING_BACKEND") != "vxlan" {
		refuse("CALICO_NETWORKING_BACKEND", "there is no BGP here, set calico_backend of ConfigMap calico-config to vxlan")
	}
	if ipip := env("CALICO_IPV4POOL_IPIP"); ipip != "Never" && ipip != "" {
		refuse("CALICO_IPV4POOL_IPIP", "there is no IP-in-IP here, set Never")
	}
	switch env("CALICO_IPV4POOL_VXLAN") {
	case "Always":
	case "CrossSubnet":
		s.plane.CrossSubnet = true
	default:
		refuse("CALICO_IPV4POOL_VXLAN", "without BGP nothing else connects the nodes, set Always or CrossSubnet")
	}
	if env("IP_AUTODETECTION_METHOD") != "kubernetes-internal-ip" {
		refuse("IP_AUTODETECTION_METHOD", "a node's address is the one the kubelet reports, set kubernetes-internal-ip")
	}
	pool, err := netip.ParsePrefix(env("CALICO_IPV4POOL_CIDR"))
	if err != nil || !pool.Addr().Is4() {
		refuse("CALICO_IPV4POOL_CIDR", "the IPv4 network of all pods is needed, it is not read from kubeadm's configuration")
	}
	s.plane.Pool = pool.Masked()
	if s.plane.MTU, err = readMTU(env("FELIX_VXLANMTU")); err != nil {
		refuse("FELIX_VXLANMTU", err.Error())
	}
	return s, errors.Join(problems...)
}

// readMTU reads veth_mtu of ConfigMap calico-config, which is for pods and tunnels alike. 0 and nothing
// mean that it follows from the node's own device.
func readMTU(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	mtu, err := strconv.Atoi(text)
	// 68 is the least that IPv4 works with (RFC 791), 65535 the most that a packet can have.
	if err != nil || mtu != 0 && (mtu < 68 || mtu > 65535) {
		return 0, errors.New("set veth_mtu of ConfigMap calico-config to a number of bytes, or 0")
	}
	return mtu, nil
}
