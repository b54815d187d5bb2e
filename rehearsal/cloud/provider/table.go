package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

// spec models one resource type: its inputs and outputs, and the checks and effects of each operation.
type spec struct {
	// title is the provider's name of the type in error messages, for instance "EC2 Subnet"; service and calls are
	// AWS's names of the service and the operations, "EC2" and CreateSubnet.
	title, service string
	calls          calls
	// inputs are the properties that a program may set; any other is rejected.
	inputs inputs
	// outputs are the properties that only AWS determines, so that they are unknown in a preview. So is a computed
	// input that the program does not set.
	outputs []string
	// autoname is the input that is generated, as `<name>-<7 hex digits>`, if the program does not set it.
	autoname string
	// timeout limits how long the provider retries what AWS temporarily rejects, if the program sets no timeout.
	timeout time.Duration
	// fixedTimeout ignores the program's timeout, as the provider does not let it be set.
	fixedTimeout bool
	// check validates the inputs as a whole, after each of them passed its own validation.
	check func(in resource.PropertyMap) []plugin.Failure
	// diff corrects a diff where the inputs' replaces is not the whole rule.
	diff func(r *plugin.Request, d plugin.Diff)
	// normalize changes inputs into the form in which the outputs repeat them.
	normalize func(in resource.PropertyMap)
	// create checks that the objects it references exist and fills in the remaining properties, including the ID.
	create func(c *call) error
	// update does the same for an object with changed inputs. Optional.
	update func(c *call) error
	// changedOutputs names the outputs that an update changes. Optional.
	changedOutputs func(c *call) []string
	// remove rejects the delete of an object that is in use, and removes the objects that are deleted with it.
	// Optional.
	remove func(c *call) error
	// affects returns the ID to call Machines.Apply with after a change of the object; nil for a type that does not
	// affect machines.
	affects func(o aws.Object) string
	// disks fills a new volume or snapshot; nil for other types.
	disks func(ctx context.Context, d aws.Disks, o aws.Object) error
}

// calls holds AWS's names of the operations.
type calls struct{ create, update, delete string }

// call is one operation on one object.
type call struct {
	aws.Tx
	// name is the name of the Pulumi resource.
	name string
	// in are the inputs as the program set them, before the previous ones (empty in a create).
	in, before aws.Object
	// obj is the object as it will be stored; old is the object as it was stored.
	obj, old aws.Object
	// restart makes the operation take as long as stopping and starting an instance.
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
	isDocument // JSON in a string; a program may also set it as an object
)

// inputs maps property names to their definitions.
type inputs map[string]input

type input struct {
	shape shape
	// required: the provider rejects a resource without it.
	required bool
	// replaces: AWS cannot change it on an existing object, so a change replaces the resource.
	replaces bool
	// computed: AWS chooses a value if the program does not, and keeps the value if the program stops setting it.
	computed bool
	// fallback is the provider's default value.
	fallback any
	// valid returns why a value is invalid, or "". It is called for each element of a list of strings.
	valid func(any) string
	// fields are the properties of an object, or of each object in a list.
	fields inputs
}

// trait sets one attribute of an input.
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

// check returns the inputs with defaults filled in, and what is invalid.
func (f inputs) check(typ, prefix string, in resource.PropertyMap) (resource.PropertyMap, []plugin.Failure) {
	out, failures := resource.PropertyMap{}, []plugin.Failure{}
	for _, key := range in.StableKeys() {
		v, path := in[key], prefix+string(key)
		if v.IsNull() || strings.HasPrefix(string(key), "__") {
			continue // added by the engine or an SDK
		}
		field, ok := f[string(key)]
		if !ok {
			failures = append(failures, plugin.Failure{Property: path,
				Reason: fmt.Sprintf("the rehearsal's model of %s does not support the property %q", typ, path)})
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

// at returns the input that a path of a diff belongs to. Fields of a computed object are computed. Examples of paths:
// "rootBlockDevice.encrypted", "records[0]", `tags["a.b"]`.
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

// unknowns marks the computed inputs that are not set as unknown, for a preview.
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

// textOf returns a string input; ok is false if it is not set or unknown.
func textOf(in resource.PropertyMap, name string) (s string, ok bool) {
	v := in[resource.PropertyKey(name)]
	if !v.IsString() {
		return "", false
	}
	return v.StringValue(), true
}

// exactlyOne fails unless exactly one of these inputs is set.
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
