package component

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type group struct {
	pulumi.ResourceState
	Children
}

type thing struct{ pulumi.CustomResourceState }

// registrations records what each resource depends on, and its aliases. It implements Pulumi's mocks.
type registrations struct {
	mu        sync.Mutex
	dependsOn map[string][]string
	aliases   map[string]int
}

func (r *registrations) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func (r *registrations) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, urn := range args.RegisterRPC.GetDependencies() {
		r.dependsOn[args.Name] = append(r.dependsOn[args.Name], resource.URN(urn).Name())
	}
	r.aliases[args.Name] = len(args.RegisterRPC.GetAliases())
	return args.Name, args.Inputs, nil
}

// What depends on a component depends on all resources in it and in the components in it, however late their goroutines
// run, and on none that is declared later.
func TestDependsOnAComponentIsComplete(t *testing.T) {
	const children = 50
	mocks := &registrations{dependsOn: map[string][]string{}, aliases: map[string]int{}}
	var want []string
	declare := func(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) *thing {
		declared := &thing{}
		require.NoError(t, ctx.RegisterResource("test:index:Thing", name, pulumi.Map{}, declared, opts...))
		return declared
	}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		outer, inner := &group{}, &group{}
		require.NoError(t, Register(ctx, "test:index:Group", "outer", outer))
		require.NoError(t, Register(ctx, "test:index:Group", "inner", inner, pulumi.Parent(outer)))
		for i := range children {
			for parent, c := range map[string]*group{"outer": outer, "inner": inner} {
				name := fmt.Sprintf("%s-%d", parent, i)
				declare(ctx, name, Child(c))
				want = append(want, name)
			}
		}
		alone := declare(ctx, "alone")
		declare(ctx, "dependent", DependsOn(outer, alone))
		declare(ctx, "late", Child(inner))
		return nil
	}, pulumi.WithMocks("test", "test", mocks))
	require.NoError(t, err)
	assert.ElementsMatch(t, slices.Concat(want, []string{"alone"}), mocks.dependsOn["dependent"])
	assert.Equal(t, 1, mocks.aliases["inner-0"], "that of a stack without components")
	assert.Zero(t, mocks.aliases["alone"])
}
