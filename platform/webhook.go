package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
)

// awaitWebhook declares a command that waits until the API server can reach the webhook of a release, by validating an
// object in a dry run. Helm only waits until the webhook's pod is ready, and at that point not every node routes to it
// yet.
func (p *platform) awaitWebhook(ctx *pulumi.Context, release string, object pulumi.Map, after pulumi.Resource) (pulumi.Resource, error) {
	admission, err := p.cluster.Run(ctx, release+"-webhook", cluster.Script{
		Name: "admission", Args: []pulumi.StringInput{pulumi.String(release)},
		Data:    pulumi.JSONMarshal(object),
		Minutes: 5,
	}, pulumi.DependsOn([]pulumi.Resource{after}))
	if err != nil {
		return nil, fmt.Errorf("waiting for the webhook of %s: %w", release, err)
	}
	p.all = append(p.all, admission)
	return admission, nil
}
