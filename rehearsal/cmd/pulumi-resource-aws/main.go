// Command pulumi-resource-aws is the rehearsal's stand-in for the AWS provider of the same name.
package main

import (
	"eco2/rehearsal/aws"
	"eco2/rehearsal/level"
	"eco2/rehearsal/machines"
	"eco2/rehearsal/plugin"
)

func main() {
	plugin.Main(func(stateDir string) (plugin.Provider, error) {
		real, err := level.FromEnv()
		if err != nil {
			return plugin.Provider{}, err
		}
		if real != level.Rehearse {
			return aws.New(stateDir, nil)
		}
		driver, err := machines.New(stateDir)
		if err != nil {
			return plugin.Provider{}, err
		}
		return aws.New(stateDir, driver)
	})
}
