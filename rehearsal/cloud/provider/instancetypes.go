package provider

import (
	"strconv"
	"strings"

	"eco2/rehearsal/cloud/aws"
)

// instanceType holds the properties of an instance type that the model uses.
type instanceType struct {
	vCPUs int
	// architectures are the image architectures that it can boot, in AWS's spelling.
	architectures []string
}

// families lists the instance types of the general purpose, compute and memory optimized families that people choose
// for nodes, grouped by architecture and available sizes. The vCPUs follow from the size (vCPUsOf), two for a "large";
// where they do not, they are given after a "=". The figures are those of EC2's DescribeInstanceTypes, copied from the
// list that the Kubernetes cluster autoscaler generates from it. Which zones offer which type is not modelled: AWS
// publishes that only through the same API.
var families = []struct{ architecture, names, sizes string }{
	{"arm64", "a1",
		"medium large xlarge 2xlarge 4xlarge metal=16"},
	{"x86_64", "c4",
		"large xlarge 2xlarge 4xlarge 8xlarge=36"},
	{"x86_64", "c5 c5d",
		"large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge metal=96"},
	{"x86_64", "c5a c5ad m5a m5ad r5a r5ad",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"},
	{"x86_64", "c5n",
		"large xlarge 2xlarge 4xlarge 9xlarge 18xlarge metal=72"},
	{"x86_64", "c6a m6a r6a",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge metal=192"},
	{"arm64", "c6g c6gd c7g c7gd c7gn m6g m6gd m7g m7gd r6g r6gd r7g r7gd",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge metal=64"},
	{"arm64", "c6gn",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"},
	{"x86_64", "c6i c6id c6in m6i m6id m6idn m6in r6i r6id r6idn r6in",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge metal=128"},
	{"x86_64", "c7a m7a r7a",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge metal-48xl"},
	{"x86_64", "c7i m7i r7i",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge metal-24xl 48xlarge metal-48xl"},
	{"x86_64", "c7i-flex c8i-flex m7i-flex m8i-flex r8i-flex",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"},
	{"x86_64", "c8a m8a r8a",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge metal-24xl 48xlarge metal-48xl"},
	{"arm64", "c8g c8gd c8gn m8g m8gd r8g r8gd r8gn",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge metal-24xl 48xlarge metal-48xl"},
	{"arm64", "c8gb r8gb",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge metal-24xl"},
	{"x86_64", "c8i m8i r8i",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge 48xlarge metal-48xl 96xlarge metal-96xl"},
	{"x86_64", "m4",
		"large xlarge 2xlarge 4xlarge 10xlarge 16xlarge"},
	{"x86_64", "m5 m5d m5dn m5n r5 r5b r5d r5dn r5n",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge metal=96"},
	{"x86_64", "m5zn",
		"large xlarge 2xlarge 3xlarge 6xlarge 12xlarge metal=48"},
	{"arm64", "m8gb",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"},
	{"arm64", "m8gn",
		"medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"},
	{"x86_64", "r4",
		"large xlarge 2xlarge 4xlarge 8xlarge 16xlarge"},
	{"x86_64", "r7iz",
		"large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge metal-16xl 32xlarge metal-32xl"},
	{"i386,x86_64", "t2",
		"nano=1 micro=1 small=1 medium=2"},
	{"x86_64", "t2",
		"large xlarge 2xlarge"},
	{"x86_64", "t3 t3a",
		"nano=2 micro=2 small=2 medium=2 large xlarge 2xlarge"},
	{"arm64", "t4g",
		"nano=2 micro=2 small=2 medium=2 large xlarge 2xlarge"},
}

// instanceTypes maps the name of each known instance type to its properties.
var instanceTypes = func() map[string]instanceType {
	types := map[string]instanceType{}
	for _, family := range families {
		for name := range strings.FieldsSeq(family.names) {
			for size := range strings.FieldsSeq(family.sizes) {
				size, said, odd := strings.Cut(size, "=")
				vCPUs := vCPUsOf(size)
				if odd {
					vCPUs, _ = strconv.Atoi(said) // TestInstanceTypes checks that these are numbers
				}
				types[name+"."+size] = instanceType{vCPUs, strings.Split(family.architecture, ",")}
			}
		}
	}
	return types
}()

// vCPUsOf returns the vCPUs that a size usually has: 4 for each "xlarge".
func vCPUsOf(size string) int {
	switch size {
	case "medium":
		return 1
	case "large":
		return 2
	case "xlarge":
		return 4
	}
	times, _, _ := strings.Cut(strings.TrimPrefix(size, "metal-"), "x")
	n, _ := strconv.Atoi(times)
	return 4 * n
}

// knownType returns an instance type, or the error of RunInstances if the model does not know it.
func knownType(name string) (instanceType, error) {
	t, ok := instanceTypes[name]
	if !ok {
		return t, aws.Refuse("InvalidParameterValue", "Invalid value '%s' for InstanceType. (The rehearsal supports the types in rehearsal/cloud/provider/instancetypes.go.)", name)
	}
	return t, nil
}
