package aws

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/internal/store"
)

// object is a resource as the model stores it: its outputs by their Pulumi names, "id", and the model's own data under
// names with a leading underscore. The typed structs of account.go are views of the same JSON.
type object map[string]any

func (o object) id() string { return o.text("id") }

func (o object) text(key string) string { s, _ := o[key].(string); return s }

func (o object) flag(key string) bool { b, _ := o[key].(bool); return b }

// number returns 0 for a missing number. Numbers that were stored come back as float64 from JSON.
func (o object) number(key string) float64 {
	switch n := o[key].(type) {
	case float64:
		return n
	case int:
		return float64(n)
	}
	return 0
}

func (o object) texts(key string) (out []string) {
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

func (o object) object(key string) object {
	switch m := o[key].(type) {
	case object:
		return m
	case map[string]any:
		return m
	}
	return nil
}

func (o object) objects(key string) (out []object) {
	list, _ := o[key].([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// setDefault sets a property that is not set yet.
func (o object) setDefault(key string, v any) {
	if _, ok := o[key]; !ok {
		o[key] = v
	}
}

// title returns a name for people to read: the Name tag, the name, the name of the Pulumi resource, or the ID.
func (o object) title() string {
	for _, name := range []string{o.object("tagsAll").text("Name"), o.text("name"), o.text("keyName"), o.text("_name")} {
		if name != "" {
			return name
		}
	}
	return o.id()
}

// described describes an object in the list of those that block a delete: "subnet subnet-0… (public-a)".
func (o object) described(kind string) string {
	if title := o.title(); title != o.id() {
		return fmt.Sprintf("%s %s (%s)", kind, o.id(), title)
	}
	return kind + " " + o.id()
}

// outputs returns the properties that the provider reports, without the model's own.
func (o object) outputs() resource.PropertyMap {
	plain := map[string]any{}
	for key, v := range o {
		if !strings.HasPrefix(key, "_") {
			plain[key] = v
		}
	}
	return resource.NewPropertyMapFromMap(plain)
}

// apiError is an error response of AWS.
type apiError struct {
	// code is empty for an error of the provider's own.
	code, message string
	// during and operation replace the provider's prefix ("creating EC2 VPC (...)") and the name of the AWS operation
	// in the message, where a resource takes more than one call.
	during, operation string
	// usedBy lists the objects that block a delete, or that are missing. AWS does not report these.
	usedBy []string
	// retryable makes the provider retry until its timeout.
	retryable bool
}

// shownBlockers limits the list of blocking objects in a message; it could be every node of a cluster.
const shownBlockers = 5

func (e *apiError) Error() string {
	s, why := fmt.Sprintf("api error %s: %s", e.code, e.message), "in use by"
	if e.code == "" {
		s, why = e.message, "still missing"
	}
	if len(e.usedBy) > 0 {
		s += fmt.Sprintf(" (%s: %s)", why, e.blockers())
	}
	return s
}

func (e *apiError) blockers() string {
	if more := len(e.usedBy) - shownBlockers; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(e.usedBy[:shownBlockers], ", "), more)
	}
	return strings.Join(e.usedBy, ", ")
}

// Refused returns the code and message of an error response of AWS; ok is false for any other error.
func Refused(err error) (code, message string, ok bool) {
	var refused *apiError
	if !errors.As(err, &refused) {
		return "", "", false
	}
	return refused.code, refused.message, true
}

func refuse(code, format string, args ...any) error {
	return &apiError{code: code, message: fmt.Sprintf(format, args...)}
}

// blocked returns AWS's DependencyViolation, or nil if usedBy is empty.
func blocked(usedBy []string, format string, args ...any) error {
	if len(usedBy) == 0 {
		return nil
	}
	return &apiError{code: "DependencyViolation", message: fmt.Sprintf(format, args...), usedBy: usedBy, retryable: true}
}

// absent holds AWS's error code and message for an object that does not exist, by kind; %s is its ID.
var absent = map[string][2]string{
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
	"subnet":                   {"InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist"},
	"vpc":                      {"InvalidVpcID.NotFound", "The vpc ID '%s' does not exist"},
}

// tx is a transaction on the account in one region.
type tx struct {
	*store.Tx
	region string
}

// key returns the key of an object in the store. Names of key pairs and parameters are unique only within a region.
func (t tx) key(kind, id string) string {
	if kind == "keyPair" || kind == "parameter" {
		return t.region + " " + id
	}
	return id
}

// get returns the object with this kind and ID, or nil if there is none.
func (t tx) get(kind, id string) (object, error) {
	var o object
	if id == "" { // bbolt has no empty keys
		return nil, nil
	}
	if ok, err := t.Get(kind, t.key(kind, id), &o); err != nil || !ok {
		return nil, err
	}
	return o, nil
}

// require is get with AWS's error for an object that does not exist.
func (t tx) require(kind, id string) (object, error) {
	o, err := t.get(kind, id)
	if err == nil && o == nil {
		err = refuse(absent[kind][0], absent[kind][1], id)
	}
	return o, err
}

func (t tx) put(kind string, o object) error { return t.Put(kind, t.key(kind, o.id()), o) }

func (t tx) drop(kind, id string) error { return t.Delete(kind, t.key(kind, id)) }

// where lists the objects of a kind whose property has this value. It reads all objects of the kind, so use it for
// deletes and for kinds with few objects.
func (t tx) where(kind, property, value string) (found []object, err error) {
	err = store.Each(t.Tx, kind, func(_ string, o object) error {
		if o.text(property) == value {
			found = append(found, o)
		}
		return nil
	})
	return found, err
}

// dropWhere deletes the objects that where would list.
func (t tx) dropWhere(kind, property, value string) error {
	found, err := t.where(kind, property, value)
	for _, o := range found {
		err = errors.Join(err, t.drop(kind, o.id()))
	}
	return err
}

// arn returns the ARN of something in this account. IAM's ARNs have no region.
func (t tx) arn(service, what string) string {
	region := t.region
	if service == "iam" {
		region = ""
	}
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, region, AccountID, what)
}

// newID returns a new EC2 ID: a prefix, a dash and 17 hex digits of which the first is 0.
func newID(prefix string) string { return prefix + "-0" + randomHex(16) }

func randomHex(digits int) string {
	b := make([]byte, (digits+1)/2)
	_, _ = rand.Read(b) // never returns an error: it crashes the program instead
	return hex.EncodeToString(b)[:digits]
}

func randomFrom(alphabet string, n int) string {
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		out[i] = alphabet[k.Int64()]
	}
	return string(out)
}

// newUniqueID returns a new unique ID of IAM: four letters for the type of entity, and 17 letters and digits.
func newUniqueID(prefix string) string {
	return prefix + randomFrom("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17)
}

// merged returns the provider's default tags, overridden by a resource's own tags.
func merged(defaults map[string]string, own resource.PropertyValue) resource.PropertyValue {
	if unknown(own) {
		return resource.MakeComputed(resource.NewStringProperty(""))
	}
	all := resource.PropertyMap{}
	for key, v := range defaults {
		all[resource.PropertyKey(key)] = resource.NewStringProperty(v)
	}
	if own.IsObject() {
		maps.Copy(all, own.ObjectValue())
	}
	return resource.NewObjectProperty(all)
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
