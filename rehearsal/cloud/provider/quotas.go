package provider

import (
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/store"
)

// Default quotas of an account, for each region, from "Amazon VPC quotas" in the VPC user guide and "Amazon EC2
// endpoints and quotas" in AWS's general reference. On AWS an account can request an increase; the model supports that
// only for vCPUs.
const (
	vpcsPerRegion      = 5
	gatewaysPerRegion  = 5
	addressesPerRegion = 5
	// rulesPerDirection is the limit for one security group; each CIDR of an inline rule counts.
	rulesPerDirection = 60
)

// withinCount returns AWS's error if the region already has as many objects of a kind as the quota allows.
func (c *call) withinCount(kind string, quota int, code, plural string) error {
	there, err := c.Where(kind, "_region", c.Region)
	if err != nil || len(there) < quota {
		return err
	}
	return aws.Refuse(code, "The maximum number of %s has been reached.", plural)
}

// withinQuota returns AWS's error if the instance would exceed the account's vCPU quota.
func (c *call) withinQuota() error {
	var quota int
	limited, err := c.Get(aws.QuotaKind, "L-1216C47A", &quota)
	if err != nil || !limited {
		return err
	}
	used := instanceTypes[c.obj.Text("instanceType")].vCPUs
	err = store.Each(c.Tx.Tx, "instance", func(_ string, o aws.Object) error {
		used += instanceTypes[o.Text("instanceType")].vCPUs
		return nil
	})
	if err != nil || used <= quota {
		return err
	}
	return aws.Refuse("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of %d allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.", quota)
}
