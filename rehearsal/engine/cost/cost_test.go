package cost

import (
	"fmt"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func made(kind tokens.Type, name string, inputs map[string]any, dependencies map[resource.PropertyKey][]resource.URN) apitype.ResourceV3 {
	return apitype.ResourceV3{URN: urn(kind, name), Type: kind, Inputs: inputs, PropertyDependencies: dependencies}
}

func urn(kind tokens.Type, name string) resource.URN {
	return resource.NewURN("dev", "eco2", "", kind, name)
}

// machine returns an instance in subnet a, which gives it a public address.
func machine(name, instanceType string, disk float64) apitype.ResourceV3 {
	return made(instance, name, map[string]any{
		"instanceType": instanceType, "rootBlockDevice": map[string]any{"volumeSize": disk, "volumeType": "gp3"},
	}, map[resource.PropertyKey][]resource.URN{"subnetId": {urn(subnet, "a")}})
}

func subnets(zones ...string) []apitype.ResourceV3 {
	var made []apitype.ResourceV3
	for _, zone := range zones {
		made = append(made, apitype.ResourceV3{URN: urn(subnet, zone), Type: subnet, Inputs: map[string]any{
			"availabilityZone": zone, "mapPublicIpOnLaunch": true,
		}})
	}
	return made
}

func ingressOf(name, group, scheme string) apitype.ResourceV3 {
	annotations := map[string]any{"alb.ingress.kubernetes.io/scheme": scheme}
	if group != "" {
		annotations["alb.ingress.kubernetes.io/group.name"] = group
	}
	return made(ingress, name, map[string]any{
		"metadata": map[string]any{"annotations": annotations}, "spec": map[string]any{"ingressClassName": "alb"},
	}, nil)
}

func estimate(t *testing.T, resources ...apitype.ResourceV3) Estimate {
	t.Helper()
	prices, err := Load()
	require.NoError(t, err)
	return prices.Estimate(resources)
}

// The nodes of the program's node table: 1 xlarge, 2 large, 6 medium, 5 small.
func TestDefaultNodesCost626DollarsAMonth(t *testing.T) {
	resources := subnets("a", "b", "c")
	for kind, count := range map[string]int{"t3.xlarge": 1, "t3.large": 2, "t3.medium": 6, "t3.small": 5} {
		for i := range count {
			resources = append(resources, machine(fmt.Sprint(kind, i), kind, 10))
		}
	}
	e := estimate(t, resources...)
	assert.InDelta(t, 626.34, e.Parts[Instances].Monthly, 0.001)
	assert.InDelta(t, 140*0.0912, e.Parts[Disks].Monthly, 0.001)
	assert.InDelta(t, 14*3.65, e.Parts[Addresses].Monthly, 0.001)
	assert.InDelta(t, 626.34+12.768+51.1, e.Total().Monthly, 0.001)
	assert.False(t, e.Total().Incomplete)
	assert.Empty(t, e.Unpriced)
}

func TestMissingPricesMakeTheTotalIncomplete(t *testing.T) {
	unknownSize := machine("huge", "t3.small", 1)
	unknownSize.Inputs["rootBlockDevice"] = nil
	foreign := machine("foreign", "t3.small", 1)
	foreign.PropertyDependencies = nil
	for name, test := range map[string]struct {
		resource apitype.ResourceV3
		part     Part
		sentence string
	}{
		"a type":            {machine("m", "m7i.large", 1), Instances, "no price for m7i.large in prices.yaml"},
		"an unknown type":   {machine("m", "04da6b54-80e4-46f7-96ec-b56ff0331ba9", 1), Instances, "no price for an unknown instance type in prices.yaml"},
		"a secret size":     {made(volume, "state", map[string]any{"type": "gp3", "size": "[secret]"}, nil), Disks, "the size of volume state is not known"},
		"an unknown size":   {unknownSize, Disks, "the size of huge's root disk depends on its image"},
		"an unknown subnet": {foreign, Addresses, "the program does not say whether foreign has a public address"},
		"secret values":     {made(release, "loki", map[string]any{"values": "[secret]"}, nil), Volumes, "the values of release loki cannot be read: it may claim volumes"},
	} {
		t.Run(name, func(t *testing.T) {
			e := estimate(t, append(subnets("a"), machine("other", "t3.small", 10), test.resource)...)
			assert.Equal(t, []string{test.sentence}, e.Unpriced)
			for _, part := range Parts {
				assert.Equal(t, part == test.part, e.Parts[part].Incomplete, part)
			}
			assert.True(t, e.Total().Incomplete)
			assert.GreaterOrEqual(t, e.Parts[Instances].Monthly, 18.98, "resources with a price are still counted")
		})
	}
}

func TestPricesOfAnotherRegionAreNotUsed(t *testing.T) {
	e := estimate(t, append(subnets("a"), machine("m", "t3.small", 10),
		made(provider, "aws", map[string]any{"region": "us-east-1"}, nil))...)
	assert.Equal(t, Amount{Incomplete: true}, e.Total())
	assert.Equal(t, []string{"prices.yaml has no prices for us-east-1, only for ap-northeast-2"}, e.Unpriced)
}

func TestAddresses(t *testing.T) {
	private := machine("private", "t3.small", 10)
	private.Inputs["associatePublicIpAddress"] = false
	elasticOf := func(name string) apitype.ResourceV3 {
		return made(association, name, nil, map[resource.PropertyKey][]resource.URN{"instanceId": {urn(instance, name)}})
	}
	for name, test := range map[string]struct {
		resources []apitype.ResourceV3
		want      float64
	}{
		"an instance":                            {[]apitype.ResourceV3{machine("m", "t3.small", 10)}, 1},
		"an elastic address in its place":        {[]apitype.ResourceV3{machine("m", "t3.small", 10), made(elastic, "m", nil, nil), elasticOf("m")}, 1},
		"an elastic address without an instance": {[]apitype.ResourceV3{machine("m", "t3.small", 10), made(elastic, "m", nil, nil)}, 2},
		"an instance without one":                {[]apitype.ResourceV3{private}, 0},
		"a load balancer, in each zone":          {[]apitype.ResourceV3{ingressOf("argocd", "eco2-dev", "internet-facing")}, 3},
		"an internal load balancer":              {[]apitype.ResourceV3{ingressOf("argocd", "eco2-dev", "internal")}, 0},
		"two Ingresses of one load balancer":     {[]apitype.ResourceV3{ingressOf("a", "one", "internet-facing"), ingressOf("b", "one", "internet-facing")}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			e := estimate(t, append(subnets("a", "b", "c"), test.resources...)...)
			assert.InDelta(t, test.want*3.65, e.Parts[Addresses].Monthly, 0.001)
		})
	}
}

func TestLoadBalancers(t *testing.T) {
	nginx := ingressOf("other", "", "internal")
	nginx.Inputs["spec"] = map[string]any{"ingressClassName": "nginx"}
	for name, test := range map[string]struct {
		resources []apitype.ResourceV3
		want      float64
	}{
		"no Ingress":                           {nil, 0},
		"one group":                            {[]apitype.ResourceV3{ingressOf("a", "one", "internal"), ingressOf("b", "one", "internal")}, 1},
		"two groups":                           {[]apitype.ResourceV3{ingressOf("a", "one", "internal"), ingressOf("b", "two", "internal")}, 2},
		"one for each Ingress without a group": {[]apitype.ResourceV3{ingressOf("a", "", "internal"), ingressOf("b", "", "internal")}, 2},
		"an Ingress of another controller":     {[]apitype.ResourceV3{nginx}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := estimate(t, test.resources...)
			assert.InDelta(t, test.want*0.0225*730, e.Parts[LoadBalancers].Monthly, 0.001)
		})
	}
}

func TestVolumesThatChartsClaim(t *testing.T) {
	claim := func(size any) map[string]any {
		return map[string]any{"volumeClaimTemplate": map[string]any{"spec": map[string]any{
			"storageClassName": "gp3", "resources": map[string]any{"requests": map[string]any{"storage": size}},
		}}}
	}
	for name, test := range map[string]struct {
		values map[string]any
		want   float64
		open   []string
	}{
		"a claim, two replicas": {map[string]any{"prometheus": map[string]any{"prometheusSpec": map[string]any{
			"replicas": 2.0, "storageSpec": claim("200Gi"),
		}}}, 400, nil},
		"another's replicas": {map[string]any{
			"grafana": map[string]any{"replicas": 3.0}, "alertmanagerSpec": map[string]any{"storage": claim("50Gi")},
		}, 50, nil},
		"persistence": {map[string]any{"grafana": map[string]any{
			"persistence": map[string]any{"enabled": true, "storageClassName": "gp3", "size": "10Gi"},
		}}, 10, nil},
		"persistence that is off": {map[string]any{"persistence": map[string]any{"enabled": false, "size": "10Gi"}}, 0, nil},
		"no size":                 {claim(nil), 0, []string{"the size of a claimed volume is <nil>"}},
		"another class": {map[string]any{"persistence": map[string]any{"enabled": true, "storageClass": "io2", "size": "10Gi"}},
			0, []string{"no price for io2 in prices.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := estimate(t, made(release, "chart", map[string]any{"values": test.values}, nil))
			assert.InDelta(t, test.want*0.0912, e.Parts[Volumes].Monthly, 0.001)
			assert.Equal(t, test.open, e.Unpriced)
		})
	}
}

func TestInvalidTablesAreRejected(t *testing.T) {
	for text, want := range map[string]string{
		"hoursPerMonth: 730\nprices: {t3.small: {price: 0.026, unit: day, source: x}}": `the unit of t3.small is "day"; it must be hour or GB-month`,
		"hoursPerMonth: 730\nprices: {t3.small: {price: -1, unit: hour, source: x}}":   "t3.small must have a price above 0 and its source",
		"hoursPerMonth: 730\nprices: {t3.small: {price: 0.026, unit: hour}}":           "t3.small must have a price above 0 and its source",
		"prices: {}":                        "hoursPerMonth must be more than 0",
		"hoursPerMonth: 730\npricelist: {}": "field pricelist not found",
	} {
		_, err := parse([]byte(text))
		assert.ErrorContains(t, err, want)
	}
}
