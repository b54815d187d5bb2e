package provider

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

var eip = spec{
	title: "EC2 EIP", service: "EC2", calls: calls{"AllocateAddress", "AssociateAddress", "ReleaseAddress"},
	affects: func(o aws.Object) string { return o.Text("instance") },
	inputs: inputs{
		"domain":             text(replaces, computed, oneOf("vpc")),
		"instance":           text(computed),
		"networkBorderGroup": text(replaces, computed),
		"publicIpv4Pool":     text(replaces, computed),
		"tags":               ownTags,
	},
	outputs: []string{"allocationId", "arn", "associationId", "carrierIp", "customerOwnedIp", "networkInterface",
		"privateDns", "privateIp", "ptrRecord", "publicDns", "publicIp", "vpc"},
	create: func(c *call) error {
		if err := c.withinCount("eip", addressesPerRegion, "AddressLimitExceeded", "addresses"); err != nil {
			return err
		}
		id := aws.NewID("eipalloc")
		ip, err := c.TakePublic(aws.Address{Allocation: id})
		if err != nil {
			return err
		}
		c.fill(aws.Object{"id": id, "allocationId": id, "arn": c.ARN("ec2", "elastic-ip/"+id), "publicIp": ip, "vpc": true,
			// An elastic address has a public name regardless of the VPC's settings.
			"publicDns": c.PublicName(aws.Object{"enableDnsHostnames": true}, ip),
			"carrierIp": "", "customerOwnedIp": "", "ptrRecord": ""})
		c.obj.SetDefault("domain", "vpc")
		c.obj.SetDefault("networkBorderGroup", c.Region)
		c.obj.SetDefault("publicIpv4Pool", "amazon")
		target := c.obj.Text("instance")
		c.fill(aws.Detached)
		if target == "" {
			return nil
		}
		return c.Associate(c.obj, target)
	},
	update: func(c *call) error {
		target := c.obj.Text("instance")
		if target == c.old.Text("instance") {
			return nil
		}
		if err := c.Detach(c.old); err != nil {
			return err
		}
		c.fill(aws.Detached)
		if target == "" {
			return nil
		}
		return c.Associate(c.obj, target)
	},
	changedOutputs: func(c *call) []string {
		if !c.changed("instance") {
			return nil
		}
		return []string{"associationId", "networkInterface", "privateDns", "privateIp"}
	},
	remove: func(c *call) error {
		// The provider first disassociates the address from the instance that this resource names. An EipAssociation
		// resource, which it does not know about, blocks the release.
		other, err := c.Find("eipAssociation", c.obj.Text("associationId"))
		if err != nil {
			return err
		}
		if other != nil {
			return aws.Refuse("InvalidIPAddress.InUse", "Address %s is in use.", c.obj.Text("publicIp"))
		}
		if err := c.Detach(c.obj); err != nil {
			return err
		}
		return c.Delete(aws.PublicIndex, c.obj.Text("publicIp"))
	},
}

var eipAssociation = spec{
	title: "EC2 EIP Association", service: "EC2", calls: calls{"AssociateAddress", "AssociateAddress", "DisassociateAddress"},
	affects: func(o aws.Object) string { return o.Text("instanceId") },
	inputs: inputs{
		"allocationId":       text(required, replaces),
		"instanceId":         text(required, replaces),
		"allowReassociation": flag(replaces),
	},
	outputs: []string{"networkInterfaceId", "privateIpAddress", "publicIp"},
	create: func(c *call) error {
		elastic, err := c.Require("eip", c.obj.Text("allocationId"))
		if err != nil {
			return err
		}
		// AWS moves an address that is in use unless the request forbids it, which the provider's never does.
		if err := c.Detach(elastic); err != nil {
			return err
		}
		if err := c.Associate(elastic, c.obj.Text("instanceId")); err != nil {
			return err
		}
		c.fill(aws.Object{"id": elastic.Text("associationId"), "publicIp": elastic.Text("publicIp"),
			"networkInterfaceId": elastic.Text("networkInterface"), "privateIpAddress": elastic.Text("privateIp")})
		return c.Keep("eip", elastic)
	},
	remove: func(c *call) error {
		elastic, err := c.Find("eip", c.obj.Text("allocationId"))
		if err != nil || elastic == nil || elastic.Text("associationId") != c.obj.ID() {
			return err
		}
		return c.Detach(elastic)
	},
	check: func(in resource.PropertyMap) []plugin.Failure {
		if id, ok := textOf(in, "allocationId"); ok && !strings.HasPrefix(id, "eipalloc-") {
			return []plugin.Failure{{Property: "allocationId", Reason: fmt.Sprintf("%q is not the id of an elastic address", id)}}
		}
		return nil
	},
}
