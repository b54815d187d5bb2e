package aws

import (
	"strings"

	"eco2/rehearsal/store"
)

// The kinds that controllers in a cluster make and no program does: no state knows them, and each is in the way
// of a network that is to go, or outlives it.
const (
	LoadBalancerKind = "loadbalancer"
	TargetGroupKind  = "targetGroup"
	volumeKind       = "volume"
	interfaceKind    = "networkInterface"
	recordKind       = "record"
)

// Volume is a disk beside an instance's first.
type Volume struct {
	ID               string            `json:"id"`
	Name             string            `json:"_name"`
	SizeGiB          int               `json:"size"`
	AvailabilityZone string            `json:"availabilityZone"`
	InstanceID       string            `json:"instance"` // empty if it is attached to none
	Tags             map[string]string `json:"tagsAll"`
	// ClientToken makes one volume of a request that is sent again.
	ClientToken string `json:"_clientToken,omitempty"`
}

// NewVolumeID is an id that no volume has.
func NewVolumeID() string { return newID("vol") }

// Volumes lists the volumes that controllers made.
func (a *Account) Volumes() (made []Volume, err error) {
	volumes, err := all[Volume](a, volumeKind)
	for _, v := range volumes {
		if v.Tags != nil {
			made = append(made, v)
		}
	}
	return made, err
}

// PutVolume makes or changes a volume.
func (a *Account) PutVolume(v Volume) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(volumeKind, v.ID, v) })
}

// DeleteVolume removes one; it need not exist.
func (a *Account) DeleteVolume(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(volumeKind, id) })
}

// detachVolumes leaves an instance's further disks without it.
func (t tx) detachVolumes(instanceID string) error {
	attached, err := t.where(volumeKind, "instance", instanceID)
	for _, v := range attached {
		v["instance"] = ""
		if err == nil {
			err = t.put(volumeKind, v)
		}
	}
	return err
}

// Record is a name in a hosted zone.
type Record struct {
	ID      string   `json:"id"`
	ZoneID  string   `json:"zoneId"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Records []string `json:"records"`
	TTL     int      `json:"ttl,omitempty"`
	// Aliases has the target of an alias, which has neither records nor a TTL.
	Aliases []Alias `json:"aliases,omitempty"`
	FQDN    string  `json:"fqdn"`
	// Owner is who made it, if that was no program.
	Owner string `json:"_owner"`
}

// Alias is what a record points at, in a hosted zone of its own.
type Alias struct {
	Name                 string `json:"name"`
	ZoneID               string `json:"zoneId"`
	EvaluateTargetHealth bool   `json:"evaluateTargetHealth"`
}

// Records lists the names that controllers made.
func (a *Account) Records() (made []Record, err error) {
	records, err := all[Record](a, recordKind)
	for _, r := range records {
		if r.Owner != "" {
			made = append(made, r)
		}
	}
	return made, err
}

// RecordsOf lists all names in a hosted zone, whoever made them.
func (a *Account) RecordsOf(zone string) (found []Record, err error) {
	records, err := all[Record](a, recordKind)
	for _, r := range records {
		if strings.TrimPrefix(r.ZoneID, "/hostedzone/") == zone {
			found = append(found, r)
		}
	}
	return found, err
}

// CheckRecord refuses a value that a record of this type cannot have, in Route 53's words.
func CheckRecord(typ, value string) error { return recordValue(typ, value) }

// PutRecord makes or changes a record.
func (a *Account) PutRecord(r Record) error {
	r.FQDN = r.Name
	r.ID = r.ZoneID + "_" + r.Name + "_" + r.Type
	return a.store.Update(func(t *store.Tx) error { return t.Put(recordKind, r.ID, r) })
}

// DeleteRecord removes one; it need not exist.
func (a *Account) DeleteRecord(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(recordKind, id) })
}
