package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// kubeadm upgrades by one minor version at a time, and never back. An upgrade is announced.
func TestUpgradesAreOneMinorVersionAtATime(t *testing.T) {
	for name, test := range map[string]struct {
		was, is  string
		parallel int
		problem  string
		warning  string
	}{
		"the same version":   {was: "1.36.4", is: "1.36.4"},
		"an unknown version": {was: "", is: "1.36.4"},
		"a patch version": {was: "1.36.3", is: "1.36.4", warning: "eco2:versions.kubernetes: this update upgrades Kubernetes from 1.36.3 to 1.36.4: the control plane, " +
			"whose API may be away for a minute, then one node after the other: each is drained, upgraded and takes pods again"},
		"a minor version": {was: "1.35.9", is: "1.36.4", parallel: 3, warning: "eco2:versions.kubernetes: this update upgrades Kubernetes from 1.35.9 to 1.36.4: the control plane, " +
			"whose API may be away for a minute, then the nodes, 3 at a time: each is drained, upgraded and takes pods again"},
		"two minor versions": {was: "1.34.9", is: "1.36.4", problem: "eco2:versions.kubernetes: the cluster has Kubernetes 1.34.9, and kubeadm upgrades it by one minor version at a " +
			"time; set a version of 1.35 first, and then 1.36.4"},
		"an older version": {was: "1.36.10", is: "1.36.4", problem: "eco2:versions.kubernetes: the cluster has Kubernetes 1.36.10 and cannot go back to 1.36.4; set 1.36.10 or newer, " +
			"with: pulumi config set --path eco2:versions.kubernetes 1.36.10"},
	} {
		t.Run(name, func(t *testing.T) {
			upgrade := values{}
			if test.parallel > 0 {
				upgrade["parallel"] = test.parallel
			}
			s := newStack(t, values{"versions": values{"kubernetes": test.is}, "upgrade": upgrade})
			s.previous = previousOutput(values{"kubernetes": test.was})
			if test.problem != "" {
				s.requireProblems(t, test.problem)
				return
			}
			s.mustLoad(t)
			if test.warning == "" {
				assert.Empty(t, s.warnings)
			} else {
				assert.Equal(t, []string{test.warning}, s.warnings)
			}
		})
	}
	updates := values{"upgrade": values{"packages": "2026-11-29"}}
	const warning = "eco2:upgrade: this update installs all updates of the machines' packages, one node after the other: each worker is drained, " +
		"restarted if an update needs that, and takes pods again"
	for name, test := range map[string]struct {
		was  values
		want []string
	}{
		"the first update":    {values{"name": ""}, nil},
		"updates":             {nil, []string{warning}},
		"updates again":       {values{"packages": "2026-10-01"}, []string{warning}},
		"the same updates":    {values{"packages": "2026-11-29"}, nil},
		"updates from before": {values{"packages": "2026-12-01"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, updates)
			s.previous = previousOutput(test.was)
			s.mustLoad(t)
			assert.ElementsMatch(t, test.want, s.warnings)
		})
	}
	newStack(t, values{"upgrade": values{"packages": "next week"}}).requireProblems(t, `eco2:upgrade: packages is "next week"; use a date, such as 2026-11-29`)
	newStack(t, values{"upgrade": values{"parallel": -1}}).requireProblems(t, "eco2:upgrade: parallel is -1; use 1 or more")
	assert.Equal(t, 1, newStack(t, nil).mustLoad(t).Upgrade.Parallel)
}
