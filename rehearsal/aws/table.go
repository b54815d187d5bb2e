package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/plugin"
)

// spec is the model of one resource type: what it accepts, what it answers, and what it refuses.
type spec struct {
	// title is how the provider names the type in its errors, service and calls how AWS names the
	// operations: "EC2 Subnet", "EC2", CreateSubnet.
	title, service string
	calls          calls
	// inputs are the properties a program may set; any other is refused.
	inputs inputs
	// outputs are the properties that only AWS can tell, so that a preview leaves them unknown. An input
	// that is computed is one of them while the program does not set it.
	outputs []string
	// autoname is the input that is made up, `<name>-<7 hex digits>`, where the program leaves it out.
	autoname string
	// timeout bounds how long the provider tries again what AWS refuses for now, if the program does not say.
	timeout time.Duration
	// constant: what the program says of a timeout changes nothing, as the provider has none to set.
	constant bool
	// check looks at the inputs as a whole, after each of them was fine.
	check func(in resource.PropertyMap) []plugin.Failure
	// diff corrects what the inputs' own replaces says.
	diff func(r *plugin.Request, d plugin.Diff)
	// shown spells inputs as the outputs repeat them.
	shown func(in resource.PropertyMap)
	// create verifies what the object refers to and fills in the rest of it, the id included.
	create func(c *call) error
	// update does the same for an object whose inputs have been replaced. Optional.
	update func(c *call) error
	// changes names the outputs that an update changes. Optional.
	changes func(c *call) []string
	// remove refuses what is in use, and removes what goes with the object. Optional.
	remove func(c *call) error
	// machines names what a change of the object means to the account's Machines; nil where it means nothing.
	machines func(o object) string
}

// calls are AWS's names of the operations.
type calls struct{ create, update, delete string }

// call is one operation on one object.
type call struct {
	tx
	// name is the Pulumi resource's.
	name string
	// in are the inputs as the program wrote them, before those of the last time (empty in a create).
	in, before object
	// it is the object as it will be kept; old as it was kept.
	it, old object
	// restart asks for the time of a stop and a start.
	restart bool
}

// shape is the type of an input's value.
type shape int

const (
	isText shape = iota
	isNumber
	isFlag
	isTexts
	isMap
	isObject
	isList
	isDocument // a JSON text, which a program may also give as an object
)

// inputs are properties by name.
type inputs map[string]input

type input struct {
	shape shape
	// required: the provider refuses a resource without it.
	required bool
	// replaces: AWS cannot change it on an existing object.
	replaces bool
	// computed: AWS chooses it where the program does not, and keeps it when the program stops to say.
	computed bool
	// fallback is what the provider fills in.
	fallback any
	// valid returns why it refuses a value, or "". Of a list of texts it sees each.
	valid func(any) string
	// fields are those of an object, or of each object in a list.
	fields inputs
}

type trait func(*input)

func text(traits ...trait) input     { return newInput(isText, nil, traits) }
func number(traits ...trait) input   { return newInput(isNumber, nil, traits) }
func flag(traits ...trait) input     { return newInput(isFlag, nil, traits) }
func texts(traits ...trait) input    { return newInput(isTexts, nil, traits) }
func textMap(traits ...trait) input  { return newInput(isMap, nil, traits) }
func document(traits ...trait) input { return newInput(isDocument, nil, traits) }
func nested(fields inputs, traits ...trait) input {
	return newInput(isObject, fields, traits)
}
func list(fields inputs, traits ...trait) input { return newInput(isList, fields, traits) }

func newInput(s shape, fields inputs, traits []trait) input {
	in := input{shape: s, fields: fields}
	for _, t := range traits {
		t(&in)
	}
	return in
}

func required(in *input) { in.required = true }
func replaces(in *input) { in.replaces = true }
func computed(in *input) { in.computed = true }

func fallback(v any) trait { return func(in *input) { in.fallback = v } }

func valid[T any](fn func(T) string) trait {
	return func(in *input) {
		in.valid = func(v any) string {
			t, ok := v.(T)
			if !ok {
				return ""
			}
			return fn(t)
		}
	}
}

func oneOf(values ...string) trait {
	return valid(func(s string) string {
		if slices.Contains(values, s) {
			return ""
		}
		return fmt.Sprintf("expected one of %q, got %q", values, s)
	})
}

func between(low, high float64) trait {
	return valid(func(n float64) string {
		if n >= low && n <= high {
			return ""
		}
		return fmt.Sprintf("expected a number in the range (%v - %v), got %v", low, high, n)
	})
}

func lengthBetween(low, high int) trait {
	return valid(func(s string) string {
		if len(s) >= low && len(s) <= high {
			return ""
		}
		return fmt.Sprintf("expected a length in the range (%d - %d), got %d", low, high, len(s))
	})
}

// check returns the inputs with their defaults, and what is wrong with them.
func (f inputs) check(typ, prefix string, in resource.PropertyMap) (resource.PropertyMap, []plugin.Failure) {
	out, failures := resource.PropertyMap{}, []plugin.Failure{}
	for _, key := range in.StableKeys() {
		v, path := in[key], prefix+string(key)
		if v.IsNull() || strings.HasPrefix(string(key), "__") {
			continue // what the engine and SDKs add is theirs
		}
		field, ok := f[string(key)]
		if !ok {
			failures = append(failures, plugin.Failure{Property: path,
				Reason: fmt.Sprintf("the rehearsal's model of %s does not know the property %q", typ, path)})
			continue
		}
		checked, fs := field.check(typ, path, v)
		out[key], failures = checked, append(failures, fs...)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if out.HasValue(resource.PropertyKey(name)) {
			continue
		}
		if f[name].required && !has(in, name) {
			failures = append(failures, plugin.Failure{Property: prefix + name,
				Reason: fmt.Sprintf("Missing required argument. The argument %q is required, but no definition was found.", prefix+name)})
		}
		if f[name].fallback != nil {
			out[resource.PropertyKey(name)] = resource.NewPropertyValue(f[name].fallback)
		}
	}
	return out, failures
}

func (in input) check(typ, path string, v resource.PropertyValue) (resource.PropertyValue, []plugin.Failure) {
	if unknown(v) {
		return v, nil
	}
	refuse := func(reason string) []plugin.Failure {
		if reason == "" {
			return nil
		}
		return []plugin.Failure{{Property: path, Reason: reason}}
	}
	wrong := func(want string) []plugin.Failure {
		return refuse(fmt.Sprintf("expected %s, got %s", want, v.TypeString()))
	}
	validate := func(v resource.PropertyValue) string {
		if in.valid == nil || v.ContainsUnknowns() {
			return ""
		}
		return in.valid(v.Mappable())
	}
	var failures []plugin.Failure
	switch in.shape {
	case isText:
		if !v.IsString() {
			return v, wrong("a string")
		}
	case isNumber:
		if !v.IsNumber() {
			return v, wrong("a number")
		}
	case isFlag:
		if !v.IsBool() {
			return v, wrong("a boolean")
		}
	case isMap:
		if !v.IsObject() {
			return v, wrong("a map of strings")
		}
		for _, key := range v.ObjectValue().StableKeys() {
			if e := v.ObjectValue()[key]; !e.IsString() && !unknown(e) {
				failures = append(failures, plugin.Failure{Property: fmt.Sprintf("%s[%q]", path, key),
					Reason: "expected a string, got " + e.TypeString()})
			}
		}
	case isTexts:
		if !v.IsArray() {
			return v, wrong("a list of strings")
		}
		for i, e := range v.ArrayValue() {
			at := fmt.Sprintf("%s[%d]", path, i)
			if unknown(e) {
				continue
			}
			if !e.IsString() {
				failures = append(failures, plugin.Failure{Property: at, Reason: "expected a string, got " + e.TypeString()})
			} else if reason := validate(e); reason != "" {
				failures = append(failures, plugin.Failure{Property: at, Reason: reason})
			}
		}
		return v, failures
	case isObject:
		if !v.IsObject() {
			return v, wrong("an object")
		}
		out, fs := in.fields.check(typ, path+".", v.ObjectValue())
		return resource.NewObjectProperty(out), append(fs, refuse(validate(v))...)
	case isList:
		if !v.IsArray() {
			return v, wrong("a list")
		}
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			one := in
			one.shape = isObject
			checked, fs := one.check(typ, fmt.Sprintf("%s[%d]", path, i), e)
			out[i], failures = checked, append(failures, fs...)
		}
		return resource.NewArrayProperty(out), failures
	case isDocument:
		if v.IsObject() && !v.ContainsUnknowns() {
			data, err := json.Marshal(v.Mappable())
			if err != nil {
				return v, refuse(err.Error())
			}
			v = resource.NewStringProperty(string(data))
		}
		if !v.IsString() && !v.IsObject() {
			return v, wrong("a JSON document")
		}
	}
	return v, append(failures, refuse(validate(v))...)
}

// at finds the input that a diff's path lies in; what is in a computed object is computed. A path is
// "rootBlockDevice.encrypted", "records[0]" or `tags["a.b"]`.
func (f inputs) at(path string) input {
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return f[path]
	}
	in, rest := f[path[:end]], path[end:]
	if in.shape == isList {
		_, rest, _ = strings.Cut(rest, "]")
	}
	if (in.shape != isObject && in.shape != isList) || !strings.HasPrefix(rest, ".") {
		return in
	}
	leaf := in.fields.at(rest[1:])
	leaf.computed = leaf.computed || in.computed
	return leaf
}

// unknowns adds what a preview cannot know: the computed inputs that are not set.
func (f inputs) unknowns(in resource.PropertyMap) resource.PropertyMap {
	out := in.Copy()
	for name, field := range f {
		key := resource.PropertyKey(name)
		v, set := in[key]
		switch {
		case !set && field.computed:
			out[key] = resource.MakeComputed(resource.NewStringProperty(""))
		case set && field.shape == isObject && v.IsObject():
			out[key] = resource.NewObjectProperty(field.fields.unknowns(v.ObjectValue()))
		}
	}
	return out
}

func has(in resource.PropertyMap, name string) bool {
	v, ok := in[resource.PropertyKey(name)]
	return ok && !v.IsNull()
}

func unknown(v resource.PropertyValue) bool { return v.IsComputed() || v.IsOutput() }

// textOf reads a text input; ok is false where it is not set or unknown.
func textOf(in resource.PropertyMap, name string) (s string, ok bool) {
	v := in[resource.PropertyKey(name)]
	if !v.IsString() {
		return "", false
	}
	return v.StringValue(), true
}

// exactlyOne refuses inputs that do not set one of several.
func exactlyOne(in resource.PropertyMap, names ...string) []plugin.Failure {
	var set []string
	for _, name := range names {
		if has(in, name) {
			set = append(set, name)
		}
	}
	if len(set) == 1 {
		return nil
	}
	return []plugin.Failure{{Property: names[0], Reason: fmt.Sprintf("exactly one of %q must be set, got %q", names, set)}}
}
