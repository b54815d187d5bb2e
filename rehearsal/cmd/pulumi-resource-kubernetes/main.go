// Command pulumi-resource-kubernetes is the rehearsal's provider of Kubernetes objects and Helm releases. It works on
// real clusters through their API servers, and on modelled ones.
package main

import (
	"eco2/rehearsal/cluster/live"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		how, err := setup.LevelFromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if how == setup.Rehearse {
			return provider.New(live.Connector()), nil
		}
		simulated, err := simulated.New(stateDir, simulated.OpenAccount(stateDir))
		if err != nil {
			return plugin.Provider{}, err
		}
		return provider.New(simulated.Connect), nil
	})
}
