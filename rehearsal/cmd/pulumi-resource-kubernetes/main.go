// Command pulumi-resource-kubernetes is the rehearsal's provider of Kubernetes objects and Helm releases, in
// the clusters that the simulated machines form.
package main

import (
	"eco2/rehearsal/command/hosts"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/plugin"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		simulated, err := hosts.New(stateDir, hosts.OpenAccount(stateDir))
		if err != nil {
			return plugin.Provider{}, err
		}
		return kubernetes.New(simulated.Connect), nil
	})
}
