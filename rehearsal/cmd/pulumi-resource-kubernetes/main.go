// Command pulumi-resource-kubernetes is the rehearsal's provider of Kubernetes objects and Helm releases. It works on
// real clusters through their API servers, and on modelled ones.
package main

import (
	"eco2/rehearsal/command/hosts"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/kubernetes/live"
	"eco2/rehearsal/level"
	"eco2/rehearsal/plugin"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		how, err := level.FromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if how == level.Rehearse {
			return kubernetes.New(live.Connector()), nil
		}
		simulated, err := hosts.New(stateDir, hosts.OpenAccount(stateDir))
		if err != nil {
			return plugin.Provider{}, err
		}
		return kubernetes.New(simulated.Connect), nil
	})
}
