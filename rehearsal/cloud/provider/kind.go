package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

// kind implements plugin.Kind for one entry of the table.
type kind struct {
	*spec
	typ, name string
	cloud     *cloud
}

// defaulted is the key under which Pulumi's Terraform bridge records the inputs that it generated itself.
const defaulted = "__defaults"

// Check implements plugin.Kind.
func (k *kind) Check(_ context.Context, r *plugin.Request) (resource.PropertyMap, []plugin.Failure) {
	in, failures := k.inputs.check(k.typ, "", r.Inputs)
	if key := resource.PropertyKey(k.autoname); key != "" && !in.HasValue(key) {
		// A generated name stays the same for the lifetime of the resource. A replacement gets a new one, as the engine
		// sends no old inputs for it.
		if old, ok := r.OldInputs[key]; ok && madeUp(r.OldInputs, k.autoname) {
			in[key] = old
		} else {
			in[key] = resource.NewStringProperty(r.Name + "-" + aws.RandomHex(7))
			failures = append(failures, checkOne(k.inputs[k.autoname], k.typ, k.autoname, in[key])...)
		}
		in[defaulted] = resource.NewArrayProperty([]resource.PropertyValue{resource.NewStringProperty(k.autoname)})
	}
	if _, tagged := k.inputs["tags"]; tagged {
		failures = append(failures, checkTags(merged(k.cloud.settings.Load().defaultTags, in["tags"]))...)
	}
	if k.check != nil && len(failures) == 0 {
		failures = k.check(in)
	}
	return in, failures
}

// checkOne validates a single input.
func checkOne(in input, typ, path string, v resource.PropertyValue) []plugin.Failure {
	_, failures := in.check(typ, path, v)
	return failures
}

func madeUp(in resource.PropertyMap, name string) bool {
	list := in[defaulted]
	return list.IsArray() && slices.ContainsFunc(list.ArrayValue(), func(v resource.PropertyValue) bool {
		return v.IsString() && v.StringValue() == name
	})
}

// checkTags enforces AWS's limits: 50 tags, keys of 1 to 128 and values of up to 256 characters, no key that begins
// with "aws:".
func checkTags(tags resource.PropertyValue) (failures []plugin.Failure) {
	if !tags.IsObject() {
		return nil
	}
	refuse := func(format string, args ...any) {
		failures = append(failures, plugin.Failure{Property: "tags", Reason: fmt.Sprintf(format, args...)})
	}
	if n := len(tags.ObjectValue()); n > 50 {
		refuse("a resource can have 50 tags, the provider's default tags included; got %d", n)
	}
	for _, key := range tags.ObjectValue().StableKeys() {
		if n := len([]rune(string(key))); n < 1 || n > 128 {
			refuse("tag keys have 1 to 128 characters; %q has %d", key, n)
		}
		if strings.HasPrefix(strings.ToLower(string(key)), "aws:") {
			refuse("tag keys that begin with \"aws:\" are reserved: %q", key)
		}
		if v := tags.ObjectValue()[key]; v.IsString() && len([]rune(v.StringValue())) > 256 {
			refuse("tag values have up to 256 characters; that of %q has %d", key, len([]rune(v.StringValue())))
		}
	}
	return failures
}

// strictServices restrict the characters of tags; EC2 allows any.
var strictServices = map[string]bool{"IAM": true, "SSM": true}

var strictTag = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTagCharacters rejects tags with characters that the service does not allow.
func (k *kind) checkTagCharacters(o aws.Object) error {
	if !strictServices[k.service] {
		return nil
	}
	tags := o.Object("tagsAll")
	for i, key := range slices.Sorted(maps.Keys(tags)) {
		for part, text := range map[string]string{"key": key, "value": tags.Text(key)} {
			if !strictTag.MatchString(text) {
				return aws.Refuse("ValidationError", "1 validation error detected: Value at 'tags.%d.member.%s' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*", i+1, part)
			}
		}
	}
	return nil
}

// Diff implements plugin.Kind. It reports no change when the program stops setting a value that AWS may choose, or
// begins to set it to its current value. It ignores order in lists of strings, and formatting in JSON documents.
func (k *kind) Diff(_ context.Context, r *plugin.Request) (plugin.Diff, error) {
	if err := k.markKnown(r.ID); err != nil {
		return plugin.Diff{}, err
	}
	olds, news := k.comparable(r.OldInputs, r.Inputs), k.comparable(r.Inputs, r.OldInputs)
	diff := plugin.Compare(olds, news, nil)
	for path, change := range diff.Changed {
		in := k.inputs.at(path)
		if in.computed && (change.Op == plugin.Deleted || change.Op == plugin.Added && equalAt(path, r.State, r.Inputs)) {
			delete(diff.Changed, path)
			continue
		}
		change.Replaces = in.replaces
		diff.Changed[path] = change
	}
	if _, tagged := k.inputs["tags"]; tagged && r.State["tagsAll"].IsObject() {
		want := resource.PropertyMap{"tagsAll": merged(k.cloud.settings.Load().defaultTags, r.Inputs["tags"])}
		have := resource.PropertyMap{"tagsAll": r.State["tagsAll"]}
		maps.Copy(diff.Changed, plugin.Compare(have, want, nil).Changed)
	}
	if k.diff != nil {
		k.diff(r, diff)
	}
	// Two objects cannot have the same name at the same time, unless the provider generates the name.
	if k.autoname != "" && !madeUp(r.Inputs, k.autoname) &&
		r.OldInputs[resource.PropertyKey(k.autoname)].DeepEquals(r.Inputs[resource.PropertyKey(k.autoname)]) {
		for _, change := range diff.Changed {
			diff.DeleteBeforeReplace = diff.DeleteBeforeReplace || change.Replaces
		}
	}
	return diff, nil
}

// comparable normalizes inputs so that only significant differences are left.
func (k *kind) comparable(in, other resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for key, v := range in {
		if strings.HasPrefix(string(key), "__") {
			continue
		}
		switch field := k.inputs[string(key)]; {
		case field.shape == isTexts && v.IsArray() && !v.ContainsUnknowns():
			list := slices.Clone(v.ArrayValue())
			slices.SortFunc(list, func(a, b resource.PropertyValue) int {
				return strings.Compare(fmt.Sprint(a.V), fmt.Sprint(b.V))
			})
			v = resource.NewArrayProperty(list)
		case field.shape == isDocument && v.IsString():
			var doc any
			if json.Unmarshal([]byte(v.StringValue()), &doc) == nil {
				data, _ := json.Marshal(doc) // cannot fail: doc was decoded from JSON
				v = resource.NewStringProperty(string(data))
			}
		}
		out[key] = v
	}
	// An object that only the other side has is compared field by field, as only some of its fields cause a
	// replacement.
	for key, v := range other {
		if _, ok := out[key]; !ok && k.inputs[string(key)].shape == isObject && v.IsObject() {
			out[key] = resource.NewObjectProperty(resource.PropertyMap{})
		}
	}
	return out
}

func equalAt(path string, a, b resource.PropertyMap) bool {
	p, err := resource.ParsePropertyPath(path)
	if err != nil {
		return false
	}
	left, okLeft := p.Get(resource.NewObjectProperty(a))
	right, okRight := p.Get(resource.NewObjectProperty(b))
	return okLeft && okRight && left.DeepEquals(right)
}

// Create implements plugin.Kind. AWS creates an object at once and the provider then waits for it. If that wait is
// cancelled, Create returns a partial error with the object, so that the engine keeps it in its state.
func (k *kind) Create(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	if r.Preview {
		return "", k.preview(r), nil
	}
	if err := k.throttled(Create, "Create", r); err != nil {
		return "", nil, err
	}
	var c *call
	err := k.retry(ctx, r, "waiting for", func(t aws.Tx) error {
		c = &call{Tx: t, name: r.Name, in: r.Inputs.Mappable(), obj: k.overlay(nil, nil, r.Inputs).Mappable()}
		c.obj["_name"], c.obj["_region"], c.obj[aws.URNKey] = r.Name, t.Region, string(r.URN)
		if err := k.removeAbandoned(t, r); err != nil {
			return err
		}
		if err := k.checkTagCharacters(c.obj); err != nil {
			return err
		}
		if err := k.create(c); err != nil {
			return err
		}
		return t.Keep(k.name, c.obj)
	})
	if err != nil {
		return "", nil, k.failed(Create, r.Name, err)
	}
	if k.cloud.disks != nil && k.disks != nil {
		if err := k.disks(ctx, k.cloud.disks, c.obj); err != nil {
			return "", nil, k.partialError(Create, r, c.obj, err)
		}
	}
	if err := k.cloud.latency.Wait(ctx, Latency(k.typ, Create)); err != nil {
		return "", nil, k.partialError(Create, r, c.obj, fmt.Errorf("waiting for completion: %w", err))
	}
	if err := k.applyToMachines(ctx, c.obj); err != nil {
		return "", nil, k.partialError(Create, r, c.obj, err)
	}
	if err := k.unfinished("Create", r); err != nil {
		return "", nil, k.partialError(Create, r, c.obj, err)
	}
	return c.obj.ID(), outputs(c.obj), nil
}

// preview returns the outputs that the provider can predict without asking AWS; the others are unknown.
func (k *kind) preview(r *plugin.Request) resource.PropertyMap {
	out := k.inputs.unknowns(k.overlay(nil, nil, r.Inputs))
	for _, name := range k.outputs {
		out[resource.PropertyKey(name)] = resource.MakeComputed(resource.NewStringProperty(""))
	}
	return out
}

// overlay returns a state with new inputs. Nested objects are merged field by field, as their other fields were chosen
// by AWS.
func (k *kind) overlay(state, olds, news resource.PropertyMap) resource.PropertyMap {
	news = news.Copy()
	if k.normalize != nil {
		k.normalize(news)
	}
	out := k.inputs.overlay(state, olds, news)
	if _, tagged := k.inputs["tags"]; tagged {
		out["tagsAll"] = merged(k.cloud.settings.Load().defaultTags, news["tags"])
	}
	return out
}

func (f inputs) overlay(state, olds, news resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	maps.Copy(out, state)
	for key := range olds {
		if _, stays := news[key]; !stays && !f[string(key)].computed {
			delete(out, key)
		}
	}
	for key, v := range news {
		if strings.HasPrefix(string(key), "__") {
			continue
		}
		if in := f[string(key)]; in.shape == isObject && v.IsObject() && out[key].IsObject() {
			var before resource.PropertyMap
			if olds[key].IsObject() {
				before = olds[key].ObjectValue()
			}
			v = resource.NewObjectProperty(in.fields.overlay(out[key].ObjectValue(), before, v.ObjectValue()))
		}
		out[key] = v
	}
	return out
}

// Read implements plugin.Kind.
func (k *kind) Read(_ context.Context, r *plugin.Request) (id string, out resource.PropertyMap, err error) {
	err = k.view(func(t aws.Tx) error {
		o, err := t.Find(k.name, r.ID)
		if o != nil {
			id, out = o.ID(), outputs(o)
		}
		return err
	})
	return id, out, err
}

// Update implements plugin.Kind.
func (k *kind) Update(ctx context.Context, r *plugin.Request) (resource.PropertyMap, error) {
	newCall := func(t aws.Tx) (*call, error) {
		old, err := t.Require(k.name, r.ID)
		if err != nil {
			return nil, err
		}
		kept := resource.NewPropertyMapFromMap(old)
		return &call{Tx: t, name: r.Name, in: plain(r.Inputs), before: plain(r.OldInputs), old: old,
			obj: plain(k.overlay(kept, r.OldInputs, r.Inputs))}, nil
	}
	if r.Preview {
		out := k.overlay(r.State, r.OldInputs, r.Inputs)
		if k.changedOutputs == nil {
			return out, nil
		}
		return out, k.view(func(t aws.Tx) error {
			c, err := newCall(t)
			var refused *aws.Error
			if errors.As(err, &refused) {
				return nil // the update itself will return this error
			}
			if err != nil {
				return err
			}
			for _, name := range k.changedOutputs(c) {
				out[resource.PropertyKey(name)] = resource.MakeComputed(resource.NewStringProperty(""))
			}
			return nil
		})
	}
	if err := k.throttled(Update, "Update", r); err != nil {
		return nil, err
	}
	if err := k.markKnown(r.ID); err != nil { // the engine updates a partly created object without a diff
		return nil, err
	}
	var c *call
	op := Update
	err := k.change(func(t aws.Tx) (err error) {
		if c, err = newCall(t); err != nil {
			return err
		}
		if err := k.checkTagCharacters(c.obj); err != nil {
			return err
		}
		if k.update != nil {
			if err := k.update(c); err != nil {
				return err
			}
		}
		switch {
		case c.restart:
			op = Restart
		case c.onlyTags():
			op = Retag
		}
		return t.Keep(k.name, c.obj)
	})
	if err != nil {
		return nil, k.failed(Update, r.ID, err)
	}
	if err := k.cloud.latency.Wait(ctx, Latency(k.typ, op)); err != nil {
		return nil, k.partialError(Update, r, c.obj, fmt.Errorf("waiting for completion: %w", err))
	}
	if err := k.applyToMachines(ctx, c.obj); err != nil {
		return nil, k.partialError(Update, r, c.obj, err)
	}
	return outputs(c.obj), nil
}

// plain turns inputs into an object; unknown values become null.
func plain(in resource.PropertyMap) aws.Object {
	return in.MapRepl(nil, func(v resource.PropertyValue) (any, bool) {
		if unknown(v) {
			return nil, true
		}
		return nil, false
	})
}

// Delete implements plugin.Kind. It succeeds if the object does not exist.
func (k *kind) Delete(ctx context.Context, r *plugin.Request) error {
	if err := k.throttled(Delete, "Delete", r); err != nil {
		return err
	}
	var old aws.Object
	err := k.retry(ctx, r, "still destroying; in use by", func(t aws.Tx) (err error) {
		if old, err = t.Find(k.name, r.ID); err != nil || old == nil {
			return err
		}
		if k.remove != nil {
			if err := k.remove(&call{Tx: t, name: r.Name, obj: old, old: old}); err != nil {
				return err
			}
		}
		return t.Drop(k.name, r.ID)
	})
	if err != nil {
		return k.failed(Delete, r.ID, err)
	}
	if old == nil {
		old = fromState(r) // an earlier delete may have been interrupted before the machines followed
	} else if err := k.cloud.latency.Wait(ctx, Latency(k.typ, Delete)); err != nil {
		return k.failed(Delete, r.ID, fmt.Errorf("waiting for completion: %w", err))
	}
	if err := k.applyToMachines(ctx, old); err != nil {
		return k.failed(Delete, r.ID, err)
	}
	return nil
}

// pollEvery is the interval at which the model retries a request that AWS temporarily rejects. The provider's own
// back-off grows to 10 s.
const pollEvery = time.Second

// timeoutOf returns the resource's timeout: the program's, where the provider lets the program set one.
func (k *kind) timeoutOf(r *plugin.Request) time.Duration {
	if r.Timeout > 0 && !k.fixedTimeout {
		return r.Timeout
	}
	return k.timeout
}

// retry runs do in a transaction until it succeeds, fails with an error that is not retryable, or the resource's
// timeout passes. Interval and timeout are scaled by the latency factor; at factor 0 there is exactly one retry.
func (k *kind) retry(ctx context.Context, r *plugin.Request, what string, do func(aws.Tx) error) error {
	deadline := time.Now().Add(k.cloud.latency.Of(k.timeoutOf(r)))
	said := ""
	for round := 0; ; round++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := k.change(do)
		var refused *aws.Error
		if !errors.As(err, &refused) || !refused.Retryable || round > 0 && !time.Now().Before(deadline) {
			return err
		}
		if line := what + " " + refused.Blockers(); line != said {
			said = line
			k.cloud.status(ctx, r, line)
		}
		if err := k.cloud.latency.Wait(ctx, pollEvery); err != nil {
			return errors.Join(refused, err)
		}
	}
}

func (k *kind) change(fn func(aws.Tx) error) error {
	return k.cloud.account.Update(k.cloud.settings.Load().region, fn)
}

func (k *kind) view(fn func(aws.Tx) error) error {
	return k.cloud.account.View(k.cloud.settings.Load().region, fn)
}

// failed words an error as the provider does.
func (k *kind) failed(op Op, name string, err error) error {
	doing := map[Op]string{Create: "creating", Update: "updating", Delete: "deleting"}[op]
	operation := map[Op]string{Create: k.calls.create, Update: k.calls.update, Delete: k.calls.delete}[op]
	if strings.HasPrefix(operation, "Import") {
		doing = "importing"
	}
	prefix := fmt.Sprintf("%s %s (%s)", doing, k.title, name)
	var refused *aws.Error
	if !errors.As(err, &refused) || refused.Code == "" {
		return fmt.Errorf("%s: %w", prefix, err)
	}
	if refused.During != "" {
		prefix = refused.During
	}
	if refused.Operation != "" {
		operation = refused.Operation
	}
	return fmt.Errorf("%s: operation error %s: %s, %w", prefix, k.service, operation, err)
}

// changed reports whether an update changes any of these inputs.
func (c *call) changed(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return !reflect.DeepEqual(c.in[name], c.before[name])
	})
}

// onlyTags reports whether an update changes nothing but tags.
func (c *call) onlyTags() bool {
	names := slices.Collect(maps.Keys(c.in))
	names = slices.DeleteFunc(slices.AppendSeq(names, maps.Keys(c.before)), func(name string) bool { return name == "tags" })
	return !c.changed(names...)
}

// matching validates by a regular expression; want describes valid values for the error message.
func matching(pattern, want string) trait {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) }) // most processes use few of them
	return valid(func(s string) string {
		if compiled().MatchString(s) {
			return ""
		}
		return fmt.Sprintf("%q is not %s", s, want)
	})
}
