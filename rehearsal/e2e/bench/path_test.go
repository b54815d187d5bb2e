package bench

import (
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/hosts/simulated"
)

func TestCriticalPath(t *testing.T) {
	urn := func(typ, name string) resource.URN { return resource.URN("urn:pulumi:s::p::" + typ + "::" + name) }
	vpc, sg := urn("aws:ec2/vpc:Vpc", "v"), urn("aws:ec2/securityGroup:SecurityGroup", "g")
	key, init := urn("aws:ec2/keyPair:KeyPair", "k"), urn("command:remote:Command", "init")
	path := criticalPath([]stack.Resource{
		{URN: vpc, Type: "aws:ec2/vpc:Vpc"},
		{URN: key, Type: "aws:ec2/keyPair:KeyPair"},
		{URN: sg, Type: "aws:ec2/securityGroup:SecurityGroup", Dependencies: []resource.URN{vpc}},
		{URN: init, Type: "command:remote:Command", Dependencies: []resource.URN{key, sg}, Inputs: map[string]any{
			"create": "sudo bash /usr/local/lib/eco2/init.sh --node n # init.sh@0a1b2c3d",
		}},
	})
	assert.Equal(t, []Step{
		{"Vpc v", aws.Latency("vpc", aws.Create)},
		{"SecurityGroup g", aws.Latency("securityGroup", aws.Create)},
		{"Command init", simulated.Durations["init"]},
	}, path.Steps)
	assert.Equal(t, 12*time.Second+2*time.Second+simulated.Durations["init"], path.Total)
}

func TestWorkersAddUp(t *testing.T) {
	for _, size := range Sizes {
		sum := 1 // the control plane
		for _, override := range workers(size - 1) {
			sum += override.(map[string]any)["count"].(int)
		}
		assert.Equal(t, size, sum)
	}
}
