package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRegions(t *testing.T) {
	for _, name := range strings.Fields(`
		af-south-1 ap-east-1 ap-northeast-2 ap-southeast-7 ca-west-1 eu-central-2 il-central-1 me-south-1 mx-central-1 sa-east-1 us-west-2`) {
		assert.Empty(t, regionProblem(name))
	}
	for _, name := range strings.Fields(`
		cn-north-1 cn-northwest-1 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-isob-west-1 us-isof-south-1 eu-isoe-west-1 eusc-de-east-1`) {
		assert.Contains(t, regionProblem(name), name+" is in another partition of AWS", name)
	}
	for _, name := range []string{"", "seoul", "ap-northeast-2a", "AP-NORTHEAST-2", "us-east", "aws-global", "us-gov-1-1"} {
		assert.Contains(t, regionProblem(name), "is not an AWS region", name)
	}
}
