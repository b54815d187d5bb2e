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

	"eco2/rehearsal/store"
)

// object is one resource as the model keeps it: its outputs by their Pulumi names, "id", and what only the
// model needs under names with an underscore. The typed structs of account.go are views of the same JSON.
type object map[string]any

func (o object) id() string { return o.text("id") }

func (o object) text(key string) string { s, _ := o[key].(string); return s }

func (o object) flag(key string) bool { b, _ := o[key].(bool); return b }

// number is 0 where there is none: JSON keeps every number as a float.
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

// or sets what is not set.
func (o object) or(key string, v any) {
	if _, ok := o[key]; !ok {
		o[key] = v
	}
}

// title names an object for people: its Name tag, its name, or what the program calls it.
func (o object) title() string {
	for _, name := range []string{o.object("tagsAll").text("Name"), o.text("name"), o.text("keyName"), o.text("_name")} {
		if name != "" {
			return name
		}
	}
	return o.id()
}

// described is an object in the list of what blocks another: "subnet subnet-0… (public-a)".
func (o object) described(kind string) string {
	if title := o.title(); title != o.id() {
		return fmt.Sprintf("%s %s (%s)", kind, o.id(), title)
	}
	return kind + " " + o.id()
}

// outputs are what the provider answers of an object.
func (o object) outputs() resource.PropertyMap {
	plain := map[string]any{}
	for key, v := range o {
		if !strings.HasPrefix(key, "_") {
			plain[key] = v
		}
	}
	return resource.NewPropertyMapFromMap(plain)
}

// apiError is a refusal by AWS.
type apiError struct {
	// code is empty for what the provider refuses or gives up by itself.
	code, message string
	// during replaces what the provider says it was doing, and operation AWS's name of it, where a
	// resource takes more than one call.
	during, operation string
	// usedBy lists what stands in the way, or is missing, which AWS does not say and the rehearsal does.
	usedBy []string
	// again: the provider tries again until its timeout.
	again bool
}

// shownBlockers bounds the list of what is in the way, which can be every node of a cluster.
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

// Refused takes AWS's code and message out of an error of the account's; ok is false if it is no refusal.
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

// blocked is AWS's DependencyViolation; nil if nothing is in the way.
func blocked(usedBy []string, format string, args ...any) error {
	if len(usedBy) == 0 {
		return nil
	}
	return &apiError{code: "DependencyViolation", message: fmt.Sprintf(format, args...), usedBy: usedBy, again: true}
}

// absent are AWS's words for an object that does not exist; %s is its id.
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

// tx is a transaction on the account as one region sees it.
type tx struct {
	*store.Tx
	region string
}

// key is what an object is kept under. Names of key pairs and parameters are unique in a region only.
func (t tx) key(kind, id string) string {
	if kind == "keyPair" || kind == "parameter" {
		return t.region + " " + id
	}
	return id
}

// get returns the object of this kind and id, nil if there is none.
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

// must is get with AWS's refusal for what does not exist.
func (t tx) must(kind, id string) (object, error) {
	o, err := t.get(kind, id)
	if err == nil && o == nil {
		err = refuse(absent[kind][0], absent[kind][1], id)
	}
	return o, err
}

func (t tx) put(kind string, o object) error { return t.Put(kind, t.key(kind, o.id()), o) }

func (t tx) drop(kind, id string) error { return t.Delete(kind, t.key(kind, id)) }

// where lists the objects of a kind whose property has this value. It reads all of the kind: for deletes
// and for kinds with few objects.
func (t tx) where(kind, property, value string) (found []object, err error) {
	err = store.Each(t.Tx, kind, func(_ string, o object) error {
		if o.text(property) == value {
			found = append(found, o)
		}
		return nil
	})
	return found, err
}

// dropWhere removes them.
func (t tx) dropWhere(kind, property, value string) error {
	found, err := t.where(kind, property, value)
	for _, o := range found {
		err = errors.Join(err, t.drop(kind, o.id()))
	}
	return err
}

// arn names something of this account. IAM knows no regions.
func (t tx) arn(service, what string) string {
	region := t.region
	if service == "iam" {
		region = ""
	}
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, region, AccountID, what)
}

// newID is an EC2 id: a prefix, a dash and 17 hex digits of which the first is 0.
func newID(prefix string) string { return prefix + "-0" + randomHex(16) }

func randomHex(digits int) string {
	b := make([]byte, (digits+1)/2)
	_, _ = rand.Read(b) // never fails: it ends the program instead
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

// newUniqueID is IAM's id of an entity: what it is in four letters, and 17 letters and digits.
func newUniqueID(prefix string) string {
	return prefix + randomFrom("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17)
}

// merged is the provider's default tags with a resource's own over them.
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
