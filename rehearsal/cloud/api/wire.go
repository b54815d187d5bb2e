package api

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wire defines how a service spells the fields of the SDK's structs on the wire. The structs have no tags for that.
type wire struct {
	// parameter returns the name of a field in a form, and element its name in XML; list is true for a slice.
	parameter, element func(owner, field string, list bool) string
	// entry comes between a list's name and the number of an entry in a form; item is the XML element of an entry.
	entry, item string
}

// elbWire spells every name as in the SDK.
var elbWire = wire{parameter: verbatim, element: verbatim, entry: "member.", item: "member"}

func verbatim(_, field string, _ bool) string { return field }

// ec2Wire names lists in the singular in forms and as "...Set" in XML, where names begin with a lower-case letter. The
// exceptions are listed here and in ec2Elements.
var ec2Wire = wire{
	parameter: func(owner, field string, list bool) string {
		switch {
		case owner == "CreateSecurityGroupInput" && field == "Description":
			return "GroupDescription"
		case list:
			return strings.TrimSuffix(field, "s")
		}
		return field
	},
	element: func(owner, field string, list bool) string {
		if name, ok := ec2Elements[owner+"."+field]; ok {
			return name
		}
		name := strings.ToLower(field[:1]) + field[1:]
		if list && !strings.HasSuffix(name, "Set") {
			name = strings.TrimSuffix(name, "s") + "Set"
		}
		return name
	},
	item: "item",
}

// ec2Elements are the names in XML that do not follow from the field names.
var ec2Elements = map[string]string{
	"AvailabilityZone.State":                            "zoneState",
	"DescribeAvailabilityZonesOutput.AvailabilityZones": "availabilityZoneInfo",
	"DescribeSecurityGroupsOutput.SecurityGroups":       "securityGroupInfo",
	"Instance.SecurityGroups":                           "groupSet",
	"Instance.State":                                    "instanceState",
	"Reservation.Instances":                             "instancesSet",
	"SecurityGroup.Description":                         "groupDescription",
}

// form decodes the parameters of a form, and records in read which ones it has decoded.
type form struct {
	wire
	values url.Values
	read   map[string]bool
}

// decode decodes a form into one of the SDK's inputs. It rejects parameters that the input does not have or that are
// not in known.
func (w wire) decode(values url.Values, input any, known []string) error {
	f := form{w, values, map[string]bool{"Action": true, "Version": true}}
	if err := f.fill(reflect.ValueOf(input).Elem(), "", "", known); err != nil {
		return err
	}
	for key := range values {
		if !f.read[key] {
			return refuse("ValidationError", "The rehearsal does not support the parameter %s of %s", key, values.Get("Action"))
		}
	}
	return nil
}

// fill decodes the parameters that begin with prefix into a struct. path is the struct's own path in known.
func (f form) fill(target reflect.Value, prefix, path string, known []string) error {
	for i := range target.NumField() {
		field := target.Type().Field(i)
		name := strings.TrimPrefix(path+"."+field.Name, ".")
		if !field.IsExported() || !isKnown(name, known) {
			continue
		}
		list := field.Type.Kind() == reflect.Slice
		if err := f.set(target.Field(i), prefix+f.parameter(target.Type().Name(), field.Name, list), name, known); err != nil {
			return err
		}
	}
	return nil
}

// isKnown reports whether a member is in known, or above or below one that is.
func isKnown(name string, known []string) bool {
	return slices.ContainsFunc(known, func(k string) bool {
		return k == name || strings.HasPrefix(name, k+".") || strings.HasPrefix(k, name+".")
	})
}

func (f form) set(target reflect.Value, key, path string, known []string) error {
	switch target.Kind() {
	case reflect.Slice:
		for n := 1; f.has(fmt.Sprintf("%s.%s%d", key, f.entry, n)); n++ {
			entry := reflect.New(target.Type().Elem()).Elem()
			if err := f.set(entry, fmt.Sprintf("%s.%s%d", key, f.entry, n), path, known); err != nil {
				return err
			}
			target.Set(reflect.Append(target, entry))
		}
		return nil
	case reflect.Struct:
		return f.fill(target, key+".", path, known)
	case reflect.Pointer:
		if !f.has(key) {
			return nil
		}
		target.Set(reflect.New(target.Type().Elem()))
		return f.set(target.Elem(), key, path, known)
	}
	if !f.values.Has(key) {
		return nil
	}
	f.read[key] = true
	text := f.values.Get(key)
	var err error
	switch target.Kind() {
	case reflect.String:
		target.SetString(text)
	case reflect.Bool:
		var truth bool
		truth, err = strconv.ParseBool(text)
		target.SetBool(truth)
	case reflect.Int32:
		var number int64
		number, err = strconv.ParseInt(text, 10, 32)
		target.SetInt(number)
	default:
		err = fmt.Errorf("the rehearsal cannot decode a %s", target.Type())
	}
	if err != nil {
		return refuse("ValidationError", "The parameter %s has the value %q: %v", key, text, err)
	}
	return nil
}

// has reports whether there is a parameter with this name, or one below it.
func (f form) has(key string) bool {
	if f.values.Has(key) {
		return true
	}
	for k := range f.values {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// encode returns one of the SDK's outputs as XML, without nil fields.
func (w wire) encode(output any) string {
	var b strings.Builder
	w.write(&b, reflect.Indirect(reflect.ValueOf(output)))
	return b.String()
}

var timeType = reflect.TypeFor[time.Time]()

func (w wire) write(b *strings.Builder, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer:
		w.write(b, v.Elem())
	case v.Type() == timeType:
		b.WriteString(v.Interface().(time.Time).UTC().Format("2006-01-02T15:04:05.000Z"))
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			w.wrap(b, w.item, v.Index(i))
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || field.Name == "ResultMetadata" || v.Field(i).IsZero() && field.Type.Kind() != reflect.Int32 {
				continue
			}
			w.wrap(b, w.element(v.Type().Name(), field.Name, field.Type.Kind() == reflect.Slice), v.Field(i))
		}
	default:
		_ = xml.EscapeText(b, []byte(fmt.Sprint(v.Interface()))) // a strings.Builder never returns an error
	}
}

func (w wire) wrap(b *strings.Builder, name string, v reflect.Value) {
	fmt.Fprintf(b, "<%s>", name)
	w.write(b, v)
	fmt.Fprintf(b, "</%s>", name)
}
