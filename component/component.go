// Package component has what the program's component resources share.
package component

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Component is a component resource whose resources are known. A type implements it by embedding pulumi.ResourceState
// and Children.
type Component interface {
	pulumi.ComponentResource
	children() *Children
}

// Children records the resources that are declared in a component and in the components in it.
type Children struct {
	resources []pulumi.Resource
}

func (c *Children) children() *Children { return c }

// Register registers a component, and must come before its children are declared.
func Register(ctx *pulumi.Context, typ, name string, c Component, opts ...pulumi.ResourceOption) error {
	// The SDK calls this for each resource in the component, at any depth, when the resource is declared.
	record := func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
		if resource, ok := args.Resource.(pulumi.CustomResource); ok {
			c.children().resources = append(c.children().resources, resource)
		}
		return nil // nothing is changed
	}
	opts = append(opts, pulumi.Transformations([]pulumi.ResourceTransformation{record}))
	if err := ctx.RegisterComponentResource(typ, name, c, opts...); err != nil {
		return fmt.Errorf("registering component %s %s: %w", typ, name, err)
	}
	return nil
}

// Child returns the option that makes a resource a child of the given component.
//
// The alias is for stacks that an older program brought up, in which these resources had no parent: without it, an
// update would replace all of them.
func Child(parent Component) pulumi.ResourceOption {
	return pulumi.Composite(
		pulumi.Parent(parent),
		pulumi.Aliases([]pulumi.Alias{{NoParent: pulumi.Bool(true)}}),
	)
}

// DependsOn returns the option that makes a resource depend on others: for a component, on everything that has been
// declared in it so far.
//
// Do not use pulumi.DependsOn with a component. The SDK adds a resource to its parent in a goroutine, so a dependent can
// miss those children whose goroutine has not run yet: see the discussion of github.com/pulumi/pulumi/pull/7737.
func DependsOn(resources ...pulumi.Resource) pulumi.ResourceOption {
	var all []pulumi.Resource
	for _, resource := range resources {
		if c, ok := resource.(Component); ok {
			all = append(all, c.children().resources...)
		} else {
			all = append(all, resource)
		}
	}
	return pulumi.DependsOn(all) //nolint:forbidigo // these are no components
}
