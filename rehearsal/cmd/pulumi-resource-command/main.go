// Command pulumi-resource-command is the rehearsal's provider of remote commands.
package main

import (
	"fmt"
	"os"

	"eco2/rehearsal/command"
	"eco2/rehearsal/command/hosts"
	"eco2/rehearsal/plugin"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		switch mode := os.Getenv(hosts.ModeEnv); mode {
		case "ssh":
			return command.New(command.NewSSH()), nil
		case "", "simulated":
			simulated, err := hosts.New(stateDir, hosts.OpenAccount(stateDir))
			return command.New(simulated), err
		default:
			return plugin.Provider{}, fmt.Errorf("reading %s: %q is neither simulated nor ssh", hosts.ModeEnv, mode)
		}
	})
}
