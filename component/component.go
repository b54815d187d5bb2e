// Package component has what all component resources of the program share.
package component

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// Child returns the option that makes a resource a child of the given component.
//
// The alias is for stacks that an older program brought up, in which these resources had no parent: without it, an
// update would replace all of them.
func Child(parent pulumi.Resource) pulumi.ResourceOption {
	return pulumi.Composite(
		pulumi.Parent(parent),
		pulumi.Aliases([]pulumi.Alias{{NoParent: pulumi.Bool(true)}}),
	)
}
