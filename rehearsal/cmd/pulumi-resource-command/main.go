// Command pulumi-resource-command is the rehearsal's provider of remote commands.
package main

import (
	"eco2/rehearsal/command"
	"eco2/rehearsal/command/hosts"
	"eco2/rehearsal/kubectl"
	"eco2/rehearsal/level"
	"eco2/rehearsal/plugin"
)

func main() {
	if kubectl.Called() { // a script on a simulated machine runs this program as kubectl
		kubectl.Main()
	}
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		how, err := level.FromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if how == level.Rehearse {
			return command.New(command.NewSSH()), nil
		}
		simulated, err := hosts.New(stateDir, hosts.OpenAccount(stateDir))
		return command.New(simulated), err
	})
}
