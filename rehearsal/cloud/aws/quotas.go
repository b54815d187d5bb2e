package aws

import (
	"eco2/rehearsal/internal/store"
)

// VCPUs is the quota of Running On-Demand Standard instances, L-1216C47A, that many accounts have. The initial
// value differs between accounts, so the model enforces a quota only after SetQuota.
const VCPUs = 32

// QuotaKind is the kind under which the account's vCPU quota is stored, if it has one.
const QuotaKind = "index.quota"

// SetQuota limits the vCPUs of all instances together, as the quota L-1216C47A does.
func (a *Account) SetQuota(vCPUs int) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(QuotaKind, "L-1216C47A", vCPUs) })
}
