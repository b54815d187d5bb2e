package aws

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"eco2/rehearsal/store"
)

// The account's hosted zones in Route 53, by id. HostedZone is that of a stack's domain, and stands for several where
// stacks have several domains; ForeignZone is somebody else's, beside it.
const (
	HostedZone  = "Z0REHEARSAL00000000"
	ForeignZone = "Z0FOREIGN0000000000"
)

// ZoneName is the domain of one of the account's hosted zones; ok is false for a zone that does not exist. The zones
// follow from the domain that somebody asks a certificate for: until then there is none.
func (a *Account) ZoneName(id string) (name string, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		name, ok, err = tx{Tx: t}.zoneName(id, "")
		return err
	})
	return name, ok, err
}

// zoneName is ZoneName for a record: where the account has several domains, the zone is that of the record's.
func (t tx) zoneName(id, record string) (name string, ok bool, err error) {
	err = store.Each(t.Tx, "certificate", func(_ string, c Certificate) error {
		registered, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimPrefix(c.Domain, "*."))
		holds := func(domain string) bool { return record == domain || strings.HasSuffix(record, "."+domain) }
		if name == "" || holds(registered) && !holds(name) || holds(registered) == holds(name) && registered < name {
			name = registered
		}
		return err
	})
	switch {
	case err != nil || name == "":
		return "", false, err
	case id == HostedZone:
		return name, true, nil
	case id == ForeignZone:
		return "foreign." + name, true, nil
	}
	return "", false, nil
}

// recordName is what the provider makes of a record's name: one that does not end as the zone does gets the zone's
// name appended. So a record of another domain is made, under a name that nobody asks for.
func recordName(name, zone string) string {
	if strings.HasSuffix(name, zone) {
		return name
	}
	return name + "." + zone
}
