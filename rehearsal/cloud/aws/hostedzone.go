package aws

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/internal/store"
)

// ForeignZone is the ID of a zone that does not belong to any stack. That of the stack's domain is setup.HostedZone.
const ForeignZone = "Z0FOREIGN0000000000"

// ZoneName returns the domain of a hosted zone; ok is false for a zone that does not exist. The zones are derived from
// the domains of certificates: before the first certificate is requested there are none.
func (a *Account) ZoneName(id string) (name string, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		name, ok, err = Tx{Tx: t}.ZoneName(id, "")
		return err
	})
	return name, ok, err
}

// ZoneName is ZoneName for a record: if the account has several domains, it returns the one that the record belongs to.
func (t Tx) ZoneName(id, record string) (name string, ok bool, err error) {
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
	case id == setup.HostedZone:
		return name, true, nil
	case id == ForeignZone:
		return "foreign." + name, true, nil
	}
	return "", false, nil
}
