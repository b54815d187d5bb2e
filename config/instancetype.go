package config

import (
	"fmt"
	"regexp"
)

var (
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|\d*xlarge|metal(-\d+xl)?)$`)
	// armType matches types with an ARM processor. In AWS's naming convention a "g" among the letters after the
	// generation number means Graviton, as in t4g, x2gd and im4gn; a "g" before it means a graphics card, as in g5
	// and gr6. The first Graviton (a1) and NVIDIA's Grace (p6e-gb200) do not follow this convention.
	armType = regexp.MustCompile(`^([a-z]+\d+[a-z]*g[a-z]*(-[a-z0-9]+)?|a1|[a-z]+\d+[a-z]*-gb\d+)\.`)
	macType = regexp.MustCompile(`^mac(\d|-)`)
)

// instanceTypeProblem returns what is wrong with an instance type, or an empty string. An empty name is valid: it
// stands for the type in the node table. The image is for amd64, even if the stack configures its own, so a machine of
// another architecture cannot boot. AWS would terminate the old machine, on the control plane together with etcd,
// before it rejects the new one.
func instanceTypeProblem(name string) string {
	switch {
	case name == "":
		return ""
	case !instanceType.MatchString(name):
		return fmt.Sprintf("%q is not an instance type such as t3.large", name)
	case macType.MatchString(name):
		return name + " is a Mac, for which there is no Ubuntu image; use a type such as t3.large"
	case armType.MatchString(name):
		return name + " has an ARM processor, and the machines' image is for amd64: AWS would terminate the " +
			"running machine before it rejects the new one; " +
			"use a type with an Intel or AMD processor, such as t3.large or m7a.large"
	}
	return ""
}
