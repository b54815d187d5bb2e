package aws

import (
	"eco2/rehearsal/store"
)

// What a new account may have in a region, from "Amazon VPC quotas" in the VPC user guide and "Amazon EC2 endpoints
// and quotas" in AWS's general reference. An account asks for more, which the model does not know of, except of vCPUs.
const (
	vpcsPerRegion      = 5
	gatewaysPerRegion  = 5
	addressesPerRegion = 5
	// rulesPerDirection are those of one security group, each network of a rule counted.
	rulesPerDirection = 60
	// VCPUs are those of Running On-Demand Standard instances, L-1216C47A, that many accounts have. What one begins
	// with differs, so the model bounds them only where SetQuota says so.
	VCPUs = 32
)

// quotaKind is under which the account's quota of vCPUs is kept, where it has one.
const quotaKind = "index.quota"

// SetQuota bounds the vCPUs of all instances, as the quota L-1216C47A does.
func (a *Account) SetQuota(vCPUs int) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(quotaKind, "L-1216C47A", vCPUs) })
}

// withinCount refuses one more of a kind than the region may have, in AWS's words.
func (c *call) withinCount(kind string, quota int, code, plural string) error {
	there, err := c.where(kind, "_region", c.region)
	if err != nil || len(there) < quota {
		return err
	}
	return refuse(code, "The maximum number of %s has been reached.", plural)
}

// withinQuota refuses an instance whose vCPUs are more than the account has left.
func (c *call) withinQuota() error {
	var quota int
	limited, err := c.Get(quotaKind, "L-1216C47A", &quota)
	if err != nil || !limited {
		return err
	}
	used := instanceTypes[c.it.text("instanceType")].vCPUs
	err = store.Each(c.Tx, "instance", func(_ string, o object) error {
		used += instanceTypes[o.text("instanceType")].vCPUs
		return nil
	})
	if err != nil || used <= quota {
		return err
	}
	return refuse("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of %d allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.", quota)
}
