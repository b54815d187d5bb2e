// Command pulumi-resource-command is the rehearsal's provider of remote commands.
package main

import (
	"eco2/rehearsal/cluster/kubectl"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/hosts/remote"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

func main() {
	if kubectl.Called() { // a script on a simulated machine runs this program as kubectl
		kubectl.Main()
	}
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		how, err := setup.LevelFromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if how == setup.Rehearse {
			return remote.New(remote.NewSSH()), nil
		}
		simulated, err := simulated.New(stateDir, simulated.OpenAccount(stateDir))
		return remote.New(simulated), err
	})
}
