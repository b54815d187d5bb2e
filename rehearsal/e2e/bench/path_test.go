package bench

import (
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/hosts/simulated"
)

func TestCriticalPath(t *testing.T) {
	urn := func(typ, name string) resource.URN { return resource.URN("urn:pulumi:s::p::" + typ + "::" + name) }
	vpc, sg := urn("aws:ec2/vpc:Vpc", "v"), urn("aws:ec2/securityGroup:SecurityGroup", "g")
	key, init := urn("aws:ec2/keyPair:KeyPair", "k"), urn("command:remote:Command", "init")
	estimate := estimatedUp([]stack.Resource{
		{URN: vpc, Type: "aws:ec2/vpc:Vpc"},
		{URN: key, Type: "aws:ec2/keyPair:KeyPair"},
		{URN: sg, Type: "aws:ec2/securityGroup:SecurityGroup", Dependencies: []resource.URN{vpc}},
		{URN: init, Type: "command:remote:Command", Dependencies: []resource.URN{key, sg}, Inputs: map[string]any{
			"create": "sudo bash /usr/local/lib/eco2/init.sh --node n # init.sh@0a1b2c3d",
		}},
	})
	total := 12*time.Second + 2*time.Second + simulated.Durations["init"]
	assert.Equal(t, total, estimate.Took)
	assert.Equal(t, []timeline.Step{
		{URN: vpc, Critical: true, End: provider.Latency("vpc", provider.Create)},
		{URN: sg, Critical: true, Start: 12 * time.Second, End: 12*time.Second + provider.Latency("securityGroup", provider.Create)},
		{URN: init, Critical: true, Start: 14 * time.Second, End: total},
	}, estimate.Critical())
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
