package simulated

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cluster/model"
)

// installed lists the flags of prepare.sh with the versions of packages that a node keeps until it is upgraded.
var installed = []string{"kubernetes-version", "containerd-version"}

// older reports whether the machine has other packages than the flags of prepare.sh ask for.
func (s state) older(flags map[string]string) bool {
	return slices.ContainsFunc(installed, func(name string) bool { return s.Versions[name] != flags[name] })
}

// install installs the versions that are among the flags of prepare.sh.
func (s *state) install(flags map[string]string) {
	s.Versions = map[string]string{}
	for name, value := range flags {
		if strings.HasSuffix(name, "-version") {
			s.Versions[name] = value
		}
	}
}

// upgradeControlPlane brings the cluster of this machine to a version, as upgrade-control-plane.sh does.
func (s *shell) upgradeControlPlane(version string) error {
	cluster := s.clusters.Cluster(s.state.Cluster)
	info, err := cluster.Info()
	if err != nil || info.Version == version {
		return err
	}
	was, is := numbers(info.Version), numbers(version)
	switch {
	case slices.Compare(is, was) < 0:
		return die("the control plane has Kubernetes %s and cannot go back to %s; set eco2:versions.kubernetes to %s or newer", info.Version, version, info.Version)
	case is[1] > was[1]+1:
		return die("the control plane has Kubernetes %s, and kubeadm upgrades it by one minor version at a time; set eco2:versions.kubernetes to a version of 1.%d first, and then to %s", info.Version, was[1]+1, version)
	}
	if err := s.sayTo(s.err, "upgrading the control plane from Kubernetes %s to %s", info.Version, version); err != nil {
		return err
	}
	return cluster.SetVersion(version)
}

// numbers returns the numbers of a version.
func numbers(version string) (all []int) {
	for _, part := range strings.Split(version, ".") {
		number, _ := strconv.Atoi(part) // kubeadm's configuration has been validated
		all = append(all, number)
	}
	return all
}

// upgradeNodes installs the wanted versions on all nodes that lack them, one after the other. It stops at the first that
// it cannot reach.
func (s *shell) upgradeNodes(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	wanted := invocation{args: s.args, flags: map[string]string{}, text: s.state.Scripts["prepare"]}
	wanted.flags["node"] = "" // of each node, its own
	for rest := s.args; len(rest) > 1; rest = rest[2:] {
		wanted.flags[strings.TrimPrefix(rest[0], "--")] = rest[1]
	}
	key, err := ssh.ParsePrivateKey([]byte(strings.TrimLeft(s.data, "\n")))
	if err != nil {
		return die("standard input holds no private SSH key that works without a passphrase")
	}
	members, err := cluster.Nodes()
	if err != nil {
		return err
	}
	for _, name := range list(s.flags["nodes"]) {
		at := slices.IndexFunc(members, func(n model.Node) bool { return n.Name == name })
		if at < 0 {
			continue
		}
		if err := s.upgradeNode(cluster, members[at], key, wanted.flags); err != nil {
			return cmp.Or(s.sayTo(s.err, "the next update goes on from here"), err)
		}
	}
	return s.say("all nodes have Kubernetes %s and containerd %s", wanted.flags["kubernetes-version"], wanted.flags["containerd-version"])
}

func (s *shell) upgradeNode(cluster *model.Cluster, node model.Node, key ssh.Signer, wanted map[string]string) error {
	machine, found, err := s.machines.ByPrivateIP(s.machine.Network, node.Address)
	if err != nil || !found {
		return err // a node without a machine is not ready, which ready.sh says
	}
	st, err := s.Hosts.state(machine.ID)
	if err != nil || !st.older(wanted) {
		return err
	}
	if !node.ControlPlane {
		at := *s
		at.flags = map[string]string{"node": node.Name, "user": s.flags["user"]}
		if _, err := at.reachWorker(node.Address, key); err != nil {
			return err
		}
	}
	if st, err = s.change(machine.ID, func(st *state) { st.install(wanted) }); err != nil {
		return err
	}
	if node.ControlPlane {
		s.state = st
	}
	node.Version = st.Versions["kubernetes-version"]
	if err := cluster.Register(node); err != nil {
		return err
	}
	return s.sayTo(s.err, "%s: has Kubernetes %s and containerd %s", node.Name, node.Version, st.Versions["containerd-version"])
}
