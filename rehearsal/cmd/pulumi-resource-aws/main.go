// Command pulumi-resource-aws is the rehearsal's stand-in for the AWS provider of the same name.
package main

import (
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		real, err := setup.LevelFromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if real != setup.Rehearse {
			return provider.NewWithDisks(stateDir, nil, simulated.NewDisks(stateDir))
		}
		driver, err := docker.New(stateDir)
		if err != nil {
			return plugin.Provider{}, err
		}
		return provider.NewWithDisks(stateDir, driver, driver)
	})
}
