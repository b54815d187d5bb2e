package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Upgrade says how nodes get other versions of Kubernetes and containerd, and the updates of their other packages.
type Upgrade struct {
	// Parallel is how many nodes are upgraded at the same time, at least 1, the default. Their pods are moved to the
	// other nodes, which must have room for them.
	Parallel int `json:"parallel"`
	// Packages is the date, such as 2026-11-29, since which the nodes' other packages must have been updated. A later date
	// updates them again. It is empty if they are left alone.
	Packages string `json:"packages"`
}

// checkUpgrade reports a version that kubeadm cannot upgrade the cluster to. It warns about an upgrade, with what it will
// do.
func (r *report) checkUpgrade(c Config) {
	if c.Upgrade.Parallel < 1 {
		r.problem("upgrade", "parallel is %d; use 1 or more", c.Upgrade.Parallel)
	}
	r.checkPackages(c)
	was, is := c.Previous.Kubernetes, c.Versions.Kubernetes
	if was == "" || was == is || !semver.MatchString(was) || !semver.MatchString(is) {
		return
	}
	if c.Restores() {
		return // the snapshot may be from before an upgrade; init.sh knows which version it has
	}
	from, to := numbers(was), numbers(is)
	switch {
	case slices.Compare(to, from) < 0:
		r.problem("versions.kubernetes", "the cluster has Kubernetes %s and cannot go back to %s; set %s or newer, with: "+
			"pulumi config set --path %s %s", was, is, was, r.key("versions.kubernetes"), was)
	case from[0] != to[0] || to[1] > from[1]+1:
		r.problem("versions.kubernetes", "the cluster has Kubernetes %s, and kubeadm upgrades it by one minor version at a "+
			"time; set a version of %d.%d first, and then %s", was, from[0], from[1]+1, is)
	default:
		r.warning("versions.kubernetes", "this update upgrades Kubernetes from %s to %s: the control plane, whose API may "+
			"be away for a minute, then %s: each is drained, upgraded and takes pods again", was, is, c.Upgrade.nodes())
	}
}

// checkPackages reports a date that is none. It warns about an update of the nodes' packages, with what it will do.
func (r *report) checkPackages(c Config) {
	date := c.Upgrade.Packages
	if date == "" {
		return
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		r.problem("upgrade", "packages is %q; use a date, such as %s", date, "2026-11-29")
	} else if c.Previous.Name != "" && c.Previous.Packages < date {
		r.warning("upgrade", "this update installs all updates of the machines' packages, %s: each worker is drained, "+
			"restarted if an update needs that, and takes pods again", c.Upgrade.nodes())
	}
}

func (u Upgrade) nodes() string {
	if u.Parallel == 1 {
		return "one node after the other"
	}
	return fmt.Sprintf("the nodes, %d at a time", u.Parallel)
}

// numbers returns the three numbers of a version that matches semver.
func numbers(version string) (all []int) {
	for _, part := range strings.Split(version, ".") {
		number, _ := strconv.Atoi(part) // out of range is the largest number
		all = append(all, number)
	}
	return all
}
