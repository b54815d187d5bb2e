package config

import (
	"fmt"
	"regexp"
)

var (
	region = regexp.MustCompile(`^[a-z]{2}-[a-z]+-\d$`)
	// otherPartition matches the regions of the other partitions in the list of AWS's SDKs.
	otherPartition = regexp.MustCompile(`^(cn|us-gov|(us|eu)-iso[a-z]?|eusc-[a-z]{2})-[a-z]+-\d$`)
)

// regionProblem says what is wrong with a region.
func regionProblem(name string) string {
	switch {
	case otherPartition.MatchString(name):
		return name + " is in another partition of AWS than aws: its ARNs and the account of Ubuntu's images are others than this " +
			"program names; take a region such as ap-northeast-2"
	case !region.MatchString(name):
		return fmt.Sprintf("%q is not an AWS region such as ap-northeast-2", name)
	}
	return ""
}
