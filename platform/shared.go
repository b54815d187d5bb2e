package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/component"
	"eco2/config"
	"eco2/infra"
)

// shared holds the inputs that every component of the platform has.
type shared struct {
	config   config.Config
	infra    *infra.Infra
	cluster  *cluster.Cluster
	provider pulumi.ProviderResource
	// earlySweep is a dependency of every object. It depends on the infrastructure, whose IAM policies the controllers
	// need, and on the cluster with Argo CD: see cluster.EarlySweep.
	earlySweep pulumi.Resource
}

// object returns the options of an object in the cluster: a child of parent that depends on the given resources.
func (s *shared) object(parent component.Component, after ...pulumi.Resource) pulumi.ResourceOption {
	return pulumi.Composite(
		component.Child(parent),
		pulumi.Provider(s.provider),
		component.DependsOn(append([]pulumi.Resource{s.earlySweep}, after...)...),
		// Objects are deleted with the machines. Deleting each of them first would slow down a destroy, and would need an
		// API server that still answers.
		pulumi.DeletedWith(s.infra.VPC),
	)
}

// awaitWebhook declares a command that waits until the API server can reach the webhook of a release, by validating an
// object in a dry run. Helm only waits until the webhook's pod is ready, and at that point not every node routes to it
// yet.
func (s *shared) awaitWebhook(ctx *pulumi.Context, release *release, object values, parent component.Component) (pulumi.Resource, error) {
	admission, err := s.cluster.NewCommand(ctx, release.name+"-webhook", &cluster.CommandArgs{
		Create:  cluster.Script{Name: "admission", Args: cluster.Arguments{pulumi.String(release.name)}},
		Stdin:   pulumi.JSONMarshal(object.input()),
		Minutes: 5,
	}, component.Child(parent), component.DependsOn(release))
	if err != nil {
		return nil, fmt.Errorf("waiting for the webhook of %s: %w", release.name, err)
	}
	return admission, nil
}

func (s *shared) prod() bool { return s.config.Environment == config.Prod }

// These schedule a chart's pods on the control plane, whose taints keep all other pods away. The workers are reserved
// for the workloads.
var (
	controlPlaneSelector    = values{"node-role.kubernetes.io/control-plane": ""}
	controlPlaneTolerations = []values{
		{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
		{"key": "role", "operator": "Equal", "value": "control-plane", "effect": "NoSchedule"},
	}
)

// resources returns a container's requests and its memory limit. The program sets no CPU limits, because they would
// throttle a container even while the node is idle.
func resources(cpu, memory, limit string) values {
	return values{
		"requests": values{"cpu": cpu, "memory": memory},
		"limits":   values{"memory": limit},
	}
}
