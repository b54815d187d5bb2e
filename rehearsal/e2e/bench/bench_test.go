package bench

import (
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/stack"
)

func urn(typ, name string) resource.URN {
	return resource.URN("urn:pulumi:bench::eco2::" + typ + "::" + name)
}

// A destroy deletes layer by layer in reverse order of the dependencies, and needs no call for a resource that is
// deleted with another one.
func TestPaths(t *testing.T) {
	const (
		vpcType, machineType, ruleType = "aws:ec2/vpc:Vpc", "aws:ec2/instance:Instance", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
		commandType                    = "command:remote:Command"
	)
	vpc, machine, rule, sweep := urn(vpcType, "network"), urn(machineType, "k8s-master"), urn(ruleType, "self"), urn(commandType, "sweep")
	resources := []stack.Resource{
		{URN: vpc, Type: vpcType},
		{URN: rule, Type: ruleType, Dependencies: []resource.URN{vpc}, DeletedWith: vpc},
		{URN: machine, Type: machineType, Dependencies: []resource.URN{vpc}},
		{URN: sweep, Type: commandType, Dependencies: []resource.URN{machine, rule}},
	}
	up := estimatedUp(resources)
	assert.Equal(t, provider.Latency(vpcType, provider.Create)+provider.Latency(machineType, provider.Create), up.Took)
	down := estimatedDestroy(resources)
	assert.Equal(t, sweepTime+provider.Latency(machineType, provider.Delete)+provider.Latency(vpcType, provider.Delete), down.Took)
	var names []string
	for _, step := range down.Critical() {
		names = append(names, step.Label())
	}
	assert.Equal(t, []string{"Command sweep", "Instance k8s-master", "Vpc network"}, names)
	assert.Greater(t, down.Took, time.Minute)
}
