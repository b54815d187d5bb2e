package api

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/setup"
)

// dnsVersion is the version of Route 53's API, with which its paths begin.
const dnsVersion = "/2013-04-01/"

// recordSet is a ResourceRecordSet.
type recordSet struct {
	Name            string
	Type            string
	SetIdentifier   string        `xml:",omitempty"`
	TTL             *int          `xml:",omitempty"`
	ResourceRecords []recordValue `xml:"ResourceRecords>ResourceRecord"`
	AliasTarget     *aliasTarget  `xml:",omitempty"`
}

type recordValue struct{ Value string }

func values(texts ...string) (list []recordValue) {
	for _, text := range texts {
		list = append(list, recordValue{text})
	}
	return list
}

type aliasTarget struct {
	HostedZoneID         string `xml:"HostedZoneId"`
	DNSName              string
	EvaluateTargetHealth bool
}

// changeRequest is the input of ChangeResourceRecordSets.
type changeRequest struct {
	XMLName xml.Name `xml:"ChangeResourceRecordSetsRequest"`
	Changes []change `xml:"ChangeBatch>Changes>Change"`
}

type change struct {
	Action    string
	RecordSet recordSet `xml:"ResourceRecordSet"`
}

type hostedZone struct {
	ID                     string `xml:"Id"`
	Name                   string
	CallerReference        string
	PrivateZone            bool `xml:"Config>PrivateZone"`
	ResourceRecordSetCount int
}

type zoneList struct {
	XMLName     xml.Name     `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListHostedZonesResponse"`
	Zones       []hostedZone `xml:"HostedZones>HostedZone"`
	Marker      string
	IsTruncated bool
	MaxItems    int
}

type recordList struct {
	XMLName     xml.Name    `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListResourceRecordSetsResponse"`
	Sets        []recordSet `xml:"ResourceRecordSets>ResourceRecordSet"`
	IsTruncated bool
	MaxItems    int
}

type changed struct {
	XMLName     xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ChangeResourceRecordSetsResponse"`
	ID          string   `xml:"ChangeInfo>Id"`
	Status      string   `xml:"ChangeInfo>Status"`
	SubmittedAt string   `xml:"ChangeInfo>SubmittedAt"`
}

type tagList struct {
	XMLName xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListTagsForResourcesResponse"`
	Sets    []tagSet `xml:"ResourceTagSets>ResourceTagSet"`
}

// tagSet holds the tags of one resource. Hosted zones of the model have no tags.
type tagSet struct {
	ResourceID, ResourceType string `xml:",omitempty"`
	Tags                     struct{}
}

// zone returns the name of the only zone whose records can be listed and changed; empty if there is none.
func (c *call) zone() (name string, err error) {
	name, _, err = c.account.ZoneName(setup.HostedZone)
	return name, err
}

// route53 runs the operation that a request's method and path identify.
func (c *call) route53(r *http.Request, body []byte) (any, error) {
	path, known := strings.CutPrefix(r.URL.Path, dnsVersion)
	id, isZone := strings.CutPrefix(path, "hostedzone/")
	id, records := strings.CutSuffix(strings.TrimSuffix(id, "/"), "/rrset")
	switch {
	case !known:
	case r.Method == http.MethodGet && path == "hostedzone":
		return c.listHostedZones()
	case r.Method == http.MethodGet && isZone && records:
		return c.listRecords(id)
	case r.Method == http.MethodPost && isZone && records:
		return c.changeRecords(id, body)
	case r.Method == http.MethodPost && path == "tags/hostedzone":
		return c.listTags(body)
	}
	return nil, refuse("UnknownOperationException", "%s %s is not an operation that the rehearsal's Route 53 supports", r.Method, r.URL.Path)
}

func zoneARN(id string) string { return "arn:aws:route53:::hostedzone/" + id }

func noZone(id string) error {
	return refuse("NoSuchHostedZone", "No hosted zone found with ID: %s", id)
}

func (c *call) listHostedZones() (any, error) {
	if err := c.authorize("route53:ListHostedZones", "*", nil); err != nil {
		return nil, err
	}
	out := zoneList{MaxItems: 100}
	name, err := c.zone()
	if err != nil || name == "" {
		return out, err
	}
	sets, err := c.records(setup.HostedZone, name)
	out.Zones = []hostedZone{
		{ID: "/hostedzone/" + setup.HostedZone, Name: name + ".", CallerReference: "rehearsal", ResourceRecordSetCount: len(sets)},
		{ID: "/hostedzone/" + aws.ForeignZone, Name: "foreign." + name + ".", CallerReference: "somebody", ResourceRecordSetCount: 2},
	}
	return out, err
}

func (c *call) listRecords(id string) (any, error) {
	if err := c.authorize("route53:ListResourceRecordSets", zoneARN(id), nil); err != nil {
		return nil, err
	}
	name, err := c.zone()
	if err != nil {
		return nil, err
	}
	if id != setup.HostedZone || name == "" {
		return nil, noZone(id)
	}
	sets, err := c.records(id, name)
	return recordList{Sets: sets, MaxItems: max(100, len(sets))}, err
}

// records lists all records of a zone, including the NS and SOA records that every zone has, in Route 53's order: by
// the labels, the last label first.
func (c *call) records(id, name string) ([]recordSet, error) {
	records, err := c.account.RecordsOf(id)
	if err != nil {
		return nil, err
	}
	ttl := 900
	const server = "ns-1.awsdns-01.example."
	sets := []recordSet{
		{Name: escaped(name), Type: "NS", TTL: &ttl, ResourceRecords: values(server)},
		{Name: escaped(name), Type: "SOA", TTL: &ttl, ResourceRecords: values(server + " awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400")},
	}
	for _, r := range records {
		sets = append(sets, listed(r))
	}
	slices.SortFunc(sets, func(a, b recordSet) int {
		return cmp.Or(slices.Compare(labels(a.Name), labels(b.Name)), cmp.Compare(a.Type, b.Type))
	})
	return sets, nil
}

func labels(name string) []string {
	list := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(list)
	return list
}

// escaped converts a name of the model to the form in which Route 53 lists it; plain does the reverse.
func escaped(name string) string { return strings.ReplaceAll(name, "*", `\052`) + "." }
func plain(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.ReplaceAll(name, `\052`, "*"), "."))
}

// normalized converts a record's name to the form in which policies have it: in lower case, without the last dot, and
// with other characters than letters, digits, "-", "_" and "." as octal codes.
func normalized(name string) string {
	var b strings.Builder
	for _, c := range []byte(plain(name)) {
		if strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) < 0 {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func listed(r aws.Record) recordSet {
	set := recordSet{Name: escaped(r.Name), Type: r.Type, ResourceRecords: values(r.Records...)}
	if len(r.Aliases) == 0 {
		set.TTL = &r.TTL
		return set
	}
	a := r.Aliases[0]
	set.AliasTarget = &aliasTarget{HostedZoneID: a.ZoneID, DNSName: plain(a.Name) + ".", EvaluateTargetHealth: a.EvaluateTargetHealth}
	return set
}

// changeRecords applies all changes of a batch, or none.
func (c *call) changeRecords(id string, body []byte) (any, error) {
	var in changeRequest
	if err := xml.Unmarshal(body, &in); err != nil {
		return nil, refuse("MalformedInput", "%v", err)
	}
	context := map[string][]string{}
	const key = "route53:ChangeResourceRecordSets"
	for _, change := range in.Changes {
		context[key+"NormalizedRecordNames"] = append(context[key+"NormalizedRecordNames"], normalized(change.RecordSet.Name))
		context[key+"RecordTypes"] = append(context[key+"RecordTypes"], change.RecordSet.Type)
		context[key+"Actions"] = append(context[key+"Actions"], change.Action)
	}
	if err := c.authorize(key, zoneARN(id), context); err != nil {
		return nil, err
	}
	zone, err := c.zone()
	if err != nil {
		return nil, err
	}
	if id != setup.HostedZone || zone == "" {
		return nil, noZone(id)
	}
	before, err := c.account.RecordsOf(id)
	if err != nil {
		return nil, err
	}
	after := map[string]aws.Record{}
	for _, r := range before {
		after[r.Name+" "+r.Type] = r
	}
	var puts []aws.Record
	var deleted, wrong []string
	for _, change := range in.Changes {
		r := c.record(id, change.RecordSet)
		if reason := c.rejectionReason(zone, change, r, after); reason != "" {
			wrong = append(wrong, reason)
			continue
		}
		if change.Action == "DELETE" {
			deleted = append(deleted, after[r.Name+" "+r.Type].ID)
			delete(after, r.Name+" "+r.Type)
			continue
		}
		after[r.Name+" "+r.Type] = r
		puts = append(puts, r)
	}
	if len(wrong) > 0 {
		return nil, refuse("InvalidChangeBatch", "[%s]", strings.Join(wrong, ", "))
	}
	for _, id := range deleted {
		if err := c.account.DeleteRecord(id); err != nil {
			return nil, err
		}
	}
	for _, r := range puts {
		if err := c.account.PutRecord(r); err != nil {
			return nil, err
		}
	}
	now := time.Now().UTC().Format(time.RFC3339)
	return changed{ID: "/change/C" + strings.ToUpper(aws.RandomHex(16)), Status: "INSYNC", SubmittedAt: now}, nil
}

// record converts a record set to a record of the model that is owned by the caller's role.
func (c *call) record(zone string, set recordSet) aws.Record {
	r := aws.Record{
		ZoneID: zone, Name: plain(set.Name), Type: set.Type, Owner: c.session.Role,
	}
	for _, v := range set.ResourceRecords {
		r.Records = append(r.Records, v.Value)
	}
	if set.TTL != nil {
		r.TTL = *set.TTL
	}
	if a := set.AliasTarget; a != nil {
		r.Aliases = []aws.Alias{{Name: plain(a.DNSName), ZoneID: a.HostedZoneID, EvaluateTargetHealth: a.EvaluateTargetHealth}}
	}
	return r
}

// rejectionReason returns why Route 53 would reject a change, or "".
func (c *call) rejectionReason(zone string, change change, r aws.Record, existing map[string]aws.Record) string {
	is, exists := existing[r.Name+" "+r.Type]
	name := escaped(r.Name)
	isAlias := len(r.Aliases) > 0
	switch {
	case change.RecordSet.SetIdentifier != "":
		return "The rehearsal does not support routing policies"
	case r.Name != zone && !strings.HasSuffix(r.Name, "."+zone):
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s.", name, zone)
	case isAlias == (len(r.Records) > 0) || isAlias == (change.RecordSet.TTL != nil):
		return fmt.Sprintf("Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords]], for %s", name)
	case change.Action == "DELETE" && !exists:
		return fmt.Sprintf("Tried to delete resource record set [name='%s', type='%s'] but it was not found", name, r.Type)
	case change.Action == "DELETE" && !same(is, r):
		return fmt.Sprintf("Tried to delete resource record set [name='%s', type='%s'] but the values provided do not match the current values", name, r.Type)
	case change.Action == "DELETE":
		return ""
	case change.Action != "CREATE" && change.Action != "UPSERT":
		return fmt.Sprintf("'%s' is not an action: CREATE, DELETE, UPSERT", change.Action)
	case change.Action == "CREATE" && exists:
		return fmt.Sprintf("Tried to create resource record set [name='%s', type='%s'] but it already exists", name, r.Type)
	}
	for _, other := range existing {
		if other.Name == r.Name && other.Type != r.Type && (other.Type == "CNAME" || r.Type == "CNAME") {
			return fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted as it conflicts with other records with the same DNS name in zone %s.", r.Type, name, zone)
		}
	}
	for _, value := range r.Records {
		if _, message, refused := aws.Refused(aws.CheckRecord(r.Type, value)); refused {
			return strings.Trim(message, "[]")
		}
	}
	if isAlias && !c.isLoadBalancerName(r.Aliases[0].Name) {
		return fmt.Sprintf("Tried to create an alias that targets %s., type %s in zone %s, but that target was not found", r.Aliases[0].Name, r.Type, r.Aliases[0].ZoneID)
	}
	return ""
}

// isLoadBalancerName reports whether a name is the DNS name of a load balancer. The model supports no other targets of
// aliases.
func (c *call) isLoadBalancerName(name string) bool {
	balancers, err := c.account.LoadBalancers()
	return err == nil && slices.ContainsFunc(balancers, func(b aws.LoadBalancer) bool {
		return strings.EqualFold(b.DNSName, strings.TrimPrefix(name, "dualstack."))
	})
}

func same(a, b aws.Record) bool {
	return a.TTL == b.TTL && reflect.DeepEqual(slices.Sorted(slices.Values(a.Records)), slices.Sorted(slices.Values(b.Records))) &&
		slices.EqualFunc(a.Aliases, b.Aliases, func(a, b aws.Alias) bool { return a.ZoneID == b.ZoneID && plain(a.Name) == plain(b.Name) })
}

func (c *call) listTags(body []byte) (any, error) {
	var in struct {
		XMLName xml.Name `xml:"ListTagsForResourcesRequest"`
		IDs     []string `xml:"ResourceIds>ResourceId"`
	}
	if err := xml.Unmarshal(body, &in); err != nil {
		return nil, refuse("MalformedInput", "%v", err)
	}
	var out tagList
	for _, id := range in.IDs {
		if err := c.authorize("route53:ListTagsForResources", zoneARN(id), nil); err != nil {
			return nil, err
		}
		if id != setup.HostedZone {
			return nil, noZone(id)
		}
		out.Sets = append(out.Sets, tagSet{ResourceID: id, ResourceType: "hostedzone"})
	}
	return out, nil
}

func writeXML(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "text/xml")
	if err != nil {
		status, r := errorResponse(err)
		switch r.code {
		case "AccessDenied", "SignatureDoesNotMatch", "UnrecognizedClientException":
			status = http.StatusForbidden
		case "NoSuchHostedZone":
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		answer = struct {
			XMLName xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ErrorResponse"`
			Type    string   `xml:"Error>Type"`
			Code    string   `xml:"Error>Code"`
			Message string   `xml:"Error>Message"`
		}{Type: "Sender", Code: r.code, Message: r.message}
	}
	_ = xml.NewEncoder(w).Encode(answer) // fails only if the caller has disconnected
}
