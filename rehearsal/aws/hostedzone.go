package aws

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"eco2/rehearsal/store"
)

// The account's hosted zones in Route 53, by id. HostedZone holds the domains of the stacks; ForeignZone is somebody
// else's, beside it.
const (
	HostedZone  = "Z0REHEARSAL00000000"
	ForeignZone = "Z0FOREIGN0000000000"
)

// ZoneName is the domain of one of the account's hosted zones; ok is false for a zone that does not exist. The zones
// follow from the domain that somebody asks a certificate for: until then there is none.
func (a *Account) ZoneName(id string) (name string, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		name, ok, err = tx{Tx: t}.zoneName(id)
		return err
	})
	return name, ok, err
}

func (t tx) zoneName(id string) (name string, ok bool, err error) {
	domain := ""
	err = store.Each(t.Tx, "certificate", func(_ string, c Certificate) error {
		if domain == "" {
			domain = strings.TrimPrefix(c.Domain, "*.")
		}
		return nil
	})
	if err != nil || domain == "" {
		return "", false, err
	}
	if name, err = publicsuffix.EffectiveTLDPlusOne(domain); err != nil {
		return "", false, err
	}
	switch id {
	case HostedZone:
		return name, true, nil
	case ForeignZone:
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
