package aws

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Object is a resource as the model stores it: its outputs by their Pulumi names, "id", and the model's own data under
// names with a leading underscore. The typed structs of account.go are views of the same JSON.
type Object map[string]any

// ID returns the object's ID.
func (o Object) ID() string { return o.Text("id") }

// Text returns a string property, or "" if it is not set.
func (o Object) Text(key string) string { s, _ := o[key].(string); return s }

// Flag returns a boolean property, or false if it is not set.
func (o Object) Flag(key string) bool { b, _ := o[key].(bool); return b }

// Number returns 0 for a missing number. Numbers that were stored come back as float64 from JSON.
func (o Object) Number(key string) float64 {
	switch n := o[key].(type) {
	case float64:
		return n
	case int:
		return float64(n)
	}
	return 0
}

// Texts returns a list of strings.
func (o Object) Texts(key string) (out []string) {
	switch list := o[key].(type) {
	case []string:
		return list
	case []any:
		for _, v := range list {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// Object returns a property that is an object, or nil if it is not set.
func (o Object) Object(key string) Object {
	switch m := o[key].(type) {
	case Object:
		return m
	case map[string]any:
		return m
	}
	return nil
}

// Objects returns a list of objects.
func (o Object) Objects(key string) (out []Object) {
	list, _ := o[key].([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// SetDefault sets a property that is not set yet.
func (o Object) SetDefault(key string, v any) {
	if _, ok := o[key]; !ok {
		o[key] = v
	}
}

// Title returns a name for people to read: the Name tag, the name, the name of the Pulumi resource, or the ID.
func (o Object) Title() string {
	for _, name := range []string{o.Object("tagsAll").Text("Name"), o.Text("name"), o.Text("keyName"), o.Text("_name")} {
		if name != "" {
			return name
		}
	}
	return o.ID()
}

// Described describes an object in the list of those that block a delete: "subnet subnet-0… (public-a)".
func (o Object) Described(kind string) string {
	if title := o.Title(); title != o.ID() {
		return fmt.Sprintf("%s %s (%s)", kind, o.ID(), title)
	}
	return kind + " " + o.ID()
}

// Error is an error response of AWS.
type Error struct {
	// code is empty for an error of the provider's own.
	Code, Message string
	// during and operation replace the provider's prefix ("creating EC2 VPC (...)") and the name of the AWS operation
	// in the message, where a resource takes more than one call.
	During, Operation string
	// UsedBy lists the objects that block a delete, or that are missing. AWS does not report these.
	UsedBy []string
	// Retryable makes the provider retry until its timeout.
	Retryable bool
}

// shownBlockers limits the list of blocking objects in a message; it could be every node of a cluster.
const shownBlockers = 5

func (e *Error) Error() string {
	s, why := fmt.Sprintf("api error %s: %s", e.Code, e.Message), "in use by"
	if e.Code == "" {
		s, why = e.Message, "still missing"
	}
	if len(e.UsedBy) > 0 {
		s += fmt.Sprintf(" (%s: %s)", why, e.Blockers())
	}
	return s
}

// Blockers lists the objects in usedBy, or the first of them.
func (e *Error) Blockers() string {
	if more := len(e.UsedBy) - shownBlockers; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(e.UsedBy[:shownBlockers], ", "), more)
	}
	return strings.Join(e.UsedBy, ", ")
}

// Refused returns the code and message of an error response of AWS; ok is false for any other error.
func Refused(err error) (code, message string, ok bool) {
	var refused *Error
	if !errors.As(err, &refused) {
		return "", "", false
	}
	return refused.Code, refused.Message, true
}

// Refuse returns an error response of AWS with this code and message.
func Refuse(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Blocked returns AWS's DependencyViolation, or nil if usedBy is empty.
func Blocked(usedBy []string, format string, args ...any) error {
	if len(usedBy) == 0 {
		return nil
	}
	return &Error{Code: "DependencyViolation", Message: fmt.Sprintf(format, args...), UsedBy: usedBy, Retryable: true}
}

// Absent holds AWS's error code and message for an object that does not exist, by kind; %s is its ID.
var Absent = map[string][2]string{
	"certificate":              {"ResourceNotFoundException", "Could not find certificate %s."},
	"eip":                      {"InvalidAllocationID.NotFound", "The allocation ID '%s' does not exist"},
	"eipAssociation":           {"InvalidAssociationID.NotFound", "The association ID '%s' does not exist"},
	"instance":                 {"InvalidInstanceID.NotFound", "The instance ID '%s' does not exist"},
	"instanceProfile":          {"NoSuchEntity", "Instance Profile %s cannot be found."},
	"internetGateway":          {"InvalidInternetGatewayID.NotFound", "The internetGateway ID '%s' does not exist"},
	"keyPair":                  {"InvalidKeyPair.NotFound", "The key pair '%s' does not exist"},
	"parameter":                {"ParameterNotFound", "%s"},
	"record":                   {"InvalidChangeBatch", "[Tried to update resource record set %s but it was not found]"},
	"role":                     {"NoSuchEntity", "The role with name %s cannot be found."},
	"rolePolicy":               {"NoSuchEntity", "The role policy %s cannot be found."},
	"route":                    {"InvalidRoute.NotFound", "no route with the identifier %s"},
	"routeTable":               {"InvalidRouteTableID.NotFound", "The routeTable ID '%s' does not exist"},
	"routeTableAssociation":    {"InvalidAssociationID.NotFound", "The association ID '%s' does not exist"},
	"securityGroup":            {"InvalidGroup.NotFound", "The security group '%s' does not exist"},
	"securityGroupEgressRule":  {"InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist"},
	"securityGroupIngressRule": {"InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist"},
	"lifecyclePolicy":          {"ResourceNotFoundException", "The requested policy %s does not exist."},
	"snapshot":                 {"InvalidSnapshot.NotFound", "The snapshot '%s' does not exist."},
	"subnet":                   {"InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist"},
	"subnetCidrReservation":    {"InvalidSubnetCidrReservationID.NotFound", "The subnet CIDR reservation ID '%s' does not exist"},
	"volume":                   {"InvalidVolume.NotFound", "The volume '%s' does not exist."},
	"volumeAttachment":         {"InvalidAttachment.NotFound", "The attachment '%s' does not exist."},
	"vpc":                      {"InvalidVpcID.NotFound", "The vpc ID '%s' does not exist"},
}

// Tx is a transaction on the account in one region.
type Tx struct {
	*store.Tx
	Region string
}

// key returns the key of an object in the store. Names of key pairs and parameters are unique only within a region.
func (t Tx) key(kind, id string) string {
	if kind == "keyPair" || kind == "parameter" {
		return t.Region + " " + id
	}
	return id
}

// Find returns the object with this kind and ID, or nil if there is none.
func (t Tx) Find(kind, id string) (Object, error) {
	var o Object
	if id == "" { // bbolt has no empty keys
		return nil, nil
	}
	if ok, err := t.Get(kind, t.key(kind, id), &o); err != nil || !ok {
		return nil, err
	}
	return o, nil
}

// Require is Find with AWS's error for an object that does not exist.
func (t Tx) Require(kind, id string) (Object, error) {
	o, err := t.Find(kind, id)
	if err == nil && o == nil {
		err = Refuse(Absent[kind][0], Absent[kind][1], id)
	}
	return o, err
}

// Keep stores an object.
func (t Tx) Keep(kind string, o Object) error { return t.Put(kind, t.key(kind, o.ID()), o) }

// Drop deletes an object; it need not exist.
func (t Tx) Drop(kind, id string) error { return t.Delete(kind, t.key(kind, id)) }

// Where lists the objects of a kind whose property has this value. It reads all objects of the kind, so use it for
// deletes and for kinds with few objects.
func (t Tx) Where(kind, property, value string) (found []Object, err error) {
	err = store.Each(t.Tx, kind, func(_ string, o Object) error {
		if o.Text(property) == value {
			found = append(found, o)
		}
		return nil
	})
	return found, err
}

// DropWhere deletes the objects that where would list.
func (t Tx) DropWhere(kind, property, value string) error {
	found, err := t.Where(kind, property, value)
	for _, o := range found {
		err = errors.Join(err, t.Drop(kind, o.ID()))
	}
	return err
}

// ARN returns the ARN of something in this account. IAM's ARNs have no region.
func (t Tx) ARN(service, what string) string {
	region := t.Region
	if service == "iam" {
		region = ""
	}
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, region, AccountID, what)
}

// NewID returns a new EC2 ID: a prefix, a dash and 17 hex digits of which the first is 0.
func NewID(prefix string) string { return prefix + "-0" + RandomHex(16) }

// RandomHex returns random hexadecimal digits.
func RandomHex(digits int) string {
	b := make([]byte, (digits+1)/2)
	_, _ = rand.Read(b) // never returns an error: it crashes the program instead
	return hex.EncodeToString(b)[:digits]
}
