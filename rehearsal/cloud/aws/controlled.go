package aws

import (
	"net/netip"
	"slices"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Kinds of objects that controllers in a cluster create outside of the program. No Pulumi state contains those objects;
// each blocks the delete of the network, or outlives it.
const (
	LoadBalancerKind = "loadbalancer"
	TargetGroupKind  = "targetGroup"
	VolumeKind       = "volume"
	InterfaceKind    = "networkInterface"
	recordKind       = "record"
)

// Volume is an EBS volume other than an instance's root disk.
type Volume struct {
	// URN is that of the resource that it was created for; empty if a controller created it.
	URN              string            `json:"_urn,omitempty"`
	ID               string            `json:"id"`
	Name             string            `json:"_name"`
	SizeGiB          int               `json:"size"`
	AvailabilityZone string            `json:"availabilityZone"`
	InstanceID       string            `json:"instance"` // empty if it is not attached
	Tags             map[string]string `json:"tagsAll"`
	// ClientToken makes a repeated request return the same volume.
	ClientToken string `json:"_clientToken,omitempty"`
}

// NewVolumeID returns a new unique volume ID.
func NewVolumeID() string { return NewID("vol") }

// Volumes lists the volumes that controllers created.
func (a *Account) Volumes() (made []Volume, err error) {
	volumes, err := a.EveryVolume()
	return slices.DeleteFunc(volumes, func(v Volume) bool { return v.URN != "" }), err
}

// EveryVolume lists the volumes of the program and those that controllers created, but no root disks.
func (a *Account) EveryVolume() (made []Volume, err error) {
	volumes, err := all[Volume](a, VolumeKind)
	for _, v := range volumes {
		if v.Tags != nil {
			made = append(made, v)
		}
	}
	return made, err
}

// PutVolume creates or updates a volume.
func (a *Account) PutVolume(v Volume) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(VolumeKind, v.ID, v) })
}

// DeleteVolume deletes a volume; it need not exist.
func (a *Account) DeleteVolume(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(VolumeKind, id) })
}

// DetachVolumes detaches all volumes from an instance.
func (t Tx) DetachVolumes(instanceID string) error {
	attached, err := t.Where(VolumeKind, "instance", instanceID)
	for _, v := range attached {
		v["instance"] = ""
		if err == nil {
			err = t.Keep(VolumeKind, v)
		}
	}
	return err
}

// Record is a DNS record set in a hosted zone.
type Record struct {
	ID      string   `json:"id"`
	ZoneID  string   `json:"zoneId"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Records []string `json:"records"`
	TTL     int      `json:"ttl,omitempty"`
	// Aliases holds the target of an alias record, which has neither Records nor a TTL.
	Aliases []Alias `json:"aliases,omitempty"`
	FQDN    string  `json:"fqdn"`
	// Owner names the controller that created it; empty for a record of the program.
	Owner string `json:"_owner"`
}

// Alias is the target of an alias record. ZoneID is the hosted zone of the target.
type Alias struct {
	Name                 string `json:"name"`
	ZoneID               string `json:"zoneId"`
	EvaluateTargetHealth bool   `json:"evaluateTargetHealth"`
}

// Records lists the records that controllers created.
func (a *Account) Records() (made []Record, err error) {
	records, err := all[Record](a, recordKind)
	for _, r := range records {
		if r.Owner != "" {
			made = append(made, r)
		}
	}
	return made, err
}

// RecordsOf lists all records of a hosted zone, those of the program and those of controllers.
func (a *Account) RecordsOf(zone string) (found []Record, err error) {
	records, err := all[Record](a, recordKind)
	for _, r := range records {
		if strings.TrimPrefix(r.ZoneID, "/hostedzone/") == zone {
			found = append(found, r)
		}
	}
	return found, err
}

// CheckRecord returns Route 53's error if a record of this type cannot have this value.
func CheckRecord(typ, value string) error { return CheckRecordValue(typ, value) }

// PutRecord creates or updates a record.
func (a *Account) PutRecord(r Record) error {
	r.FQDN = r.Name
	r.ID = r.ZoneID + "_" + r.Name + "_" + r.Type
	return a.store.Update(func(t *store.Tx) error { return t.Put(recordKind, r.ID, r) })
}

// DeleteRecord deletes a record; it need not exist.
func (a *Account) DeleteRecord(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(recordKind, id) })
}

// CheckRecordValue returns AWS's error if a record of this type cannot have this value.
func CheckRecordValue(typ, value string) error {
	ip, err := netip.ParseAddr(value)
	switch {
	case typ == "A" && (err != nil || !ip.Is4()):
		return Refuse("InvalidChangeBatch", "[Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address) encountered with '%s'']", value)
	case typ == "AAAA" && (err != nil || !ip.Is6()):
		return Refuse("InvalidChangeBatch", "[Invalid Resource Record: 'FATAL problem: AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address) encountered with '%s'']", value)
	}
	return nil
}
