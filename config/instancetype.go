package config

import (
	"fmt"
	"regexp"
)

var (
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|\d*xlarge|metal(-\d+xl)?)$`)
	// armType matches types with an ARM processor. In AWS's naming convention a "g" among the letters after the
	// generation's number is a Graviton, as in t4g, x2gd and im4gn; a "g" before it is a graphics card, as in g5
	// and gr6. The first Graviton (a1) and NVIDIA's Grace (p6e-gb200) are named otherwise.
	armType = regexp.MustCompile(`^([a-z]+\d+[a-z]*g[a-z]*(-[a-z0-9]+)?|a1|[a-z]+\d+[a-z]*-gb\d+)\.`)
	macType = regexp.MustCompile(`^mac(\d|-)`)
)

// instanceTypeProblem says what is wrong with an instance type; empty stands for the node table's own. The image
// is for amd64, also where the stack names its own, so a machine of another architecture cannot boot: AWS would
// end the old machine, on the control plane with etcd, before it refuses the new one.
func instanceTypeProblem(name string) string {
	switch {
	case name == "":
		return ""
	case !instanceType.MatchString(name):
		return fmt.Sprintf("%q is not an instance type such as t3.large", name)
	case macType.MatchString(name):
		return name + " is a Mac, for which there is no image of Ubuntu; take a type such as t3.large"
	case armType.MatchString(name):
		return name + " has an ARM processor, and the machines' image is for amd64: AWS would end the running machine before it " +
			"refuses the new one; take a type with an Intel or AMD processor, such as t3.large or m7a.large"
	}
	return ""
}
