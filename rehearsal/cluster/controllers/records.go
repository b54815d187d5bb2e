package controllers

import (
	"fmt"
	"slices"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/internal/setup"
)

// records maintains the DNS records of Ingresses as external-dns does: for each host an alias of its load balancer, and
// a TXT record with the owner. It deletes the records of hosts that no Ingress has any more.
func records(s *snapshot) error {
	if !s.runs("Deployment", "external-dns") {
		return nil
	}
	existing, err := s.account.Records()
	if err != nil {
		return err
	}
	wanted := map[string]aws.Record{}
	for _, ingress := range s.of("networking.k8s.io", "Ingress") {
		target := hostname(ingress)
		for _, name := range hosts(ingress) {
			if target == "" {
				continue
			}
			owner := fmt.Sprintf("heritage=external-dns,external-dns/owner=%s", s.name)
			for _, r := range []aws.Record{
				// external-dns treats an alias as a CNAME, and creates one record for each address family in Route 53.
				{Name: name, Type: "A", Records: []string{target}},
				{Name: "edns-cname." + name, Type: "TXT", Records: []string{owner}},
				{Name: name, Type: "AAAA", Records: []string{target}},
				{Name: "edns-aaaa." + name, Type: "TXT", Records: []string{owner}},
			} {
				r.ZoneID, r.Owner = setup.HostedZone, s.name
				r.ID = r.ZoneID + "_" + r.Name + "_" + r.Type
				wanted[r.ID] = r
			}
		}
	}
	for _, r := range existing {
		if _, stays := wanted[r.ID]; r.Owner == s.name && !stays {
			if err := s.account.DeleteRecord(r.ID); err != nil {
				return err
			}
		}
	}
	for id, r := range wanted {
		if slices.ContainsFunc(existing, func(e aws.Record) bool { return e.ID == id && slices.Equal(e.Records, r.Records) }) {
			continue
		}
		if err := s.account.PutRecord(r); err != nil {
			return err
		}
	}
	return nil
}

func hosts(ingress model.Object) (names []string) {
	for _, rule := range list(ingress.Live, "spec", "rules") {
		r, _ := rule.(map[string]any)
		if host := text(r, "host"); host != "" {
			names = append(names, host)
		}
	}
	return names
}

// DNSNameCount returns how many names external-dns manages, as its metrics report it; ok is false if it does not run.
func (c *Controllers) DNSNameCount() (n int, ok bool, err error) {
	s, err := c.observe()
	if err != nil || !s.alive || !s.runs("Deployment", "external-dns") {
		return 0, false, err
	}
	for _, ingress := range s.of("networking.k8s.io", "Ingress") {
		if hostname(ingress) != "" {
			n += len(hosts(ingress))
		}
	}
	return n, true, nil
}
