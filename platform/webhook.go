package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
)

// webhook waits until the API server reaches the webhook of a release that judges an object. That its pod is
// ready, which is all that Helm waits for, is not yet that every node leads to it.
func (p *Platform) webhook(ctx *pulumi.Context, release string, object pulumi.Map, after pulumi.Resource) (pulumi.Resource, error) {
	admission, err := p.cluster.Run(ctx, release+"-webhook", cluster.Script{
		Name: "admission", Args: []pulumi.StringInput{pulumi.String(release)},
		Data:    pulumi.JSONMarshal(object),
		Minutes: 5,
	}, pulumi.DependsOn([]pulumi.Resource{after}))
	if err != nil {
		return nil, fmt.Errorf("waiting for the webhook of %s: %w", release, err)
	}
	p.made = append(p.made, admission)
	return admission, nil
}
