package config

import (
	"fmt"
	"regexp"
)

var (
	region = regexp.MustCompile(`^[a-z]{2}-[a-z]+-\d$`)
	// otherPartition matches the regions that the AWS SDKs list under a partition other than aws.
	otherPartition = regexp.MustCompile(`^(cn|us-gov|(us|eu)-iso[a-z]?|eusc-[a-z]{2})-[a-z]+-\d$`)
)

// regionProblem returns what is wrong with a region, or an empty string.
func regionProblem(name string) string {
	switch {
	case otherPartition.MatchString(name):
		return name + " is in another partition of AWS than aws, where ARNs and the account of Ubuntu's images differ " +
			"from those that this program uses; use a region such as ap-northeast-2"
	case !region.MatchString(name):
		return fmt.Sprintf("%q is not an AWS region such as ap-northeast-2", name)
	}
	return ""
}
