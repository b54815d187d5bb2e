package aws

import (
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
	// VCPUs is the quota of Running On-Demand Standard instances, L-1216C47A, that many accounts have. The initial
	// value differs between accounts, so the model enforces a quota only after SetQuota.
	VCPUs = 32
)

// quotaKind is the kind under which the account's vCPU quota is stored, if it has one.
const quotaKind = "index.quota"

// SetQuota limits the vCPUs of all instances together, as the quota L-1216C47A does.
func (a *Account) SetQuota(vCPUs int) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(quotaKind, "L-1216C47A", vCPUs) })
}

// withinCount returns AWS's error if the region already has as many objects of a kind as the quota allows.
func (c *call) withinCount(kind string, quota int, code, plural string) error {
	there, err := c.where(kind, "_region", c.region)
	if err != nil || len(there) < quota {
		return err
	}
	return refuse(code, "The maximum number of %s has been reached.", plural)
}

// withinQuota returns AWS's error if the instance would exceed the account's vCPU quota.
func (c *call) withinQuota() error {
	var quota int
	limited, err := c.Get(quotaKind, "L-1216C47A", &quota)
	if err != nil || !limited {
		return err
	}
	used := instanceTypes[c.obj.text("instanceType")].vCPUs
	err = store.Each(c.Tx, "instance", func(_ string, o object) error {
		used += instanceTypes[o.text("instanceType")].vCPUs
		return nil
	})
	if err != nil || used <= quota {
		return err
	}
	return refuse("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of %d allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.", quota)
}
