package remote

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/engine/plugin"
)

// recorder is a transport that records the sessions that it should run.
type recorder struct {
	sessions []Session
	exit     int
	err      error
	block    bool
}

func (h *recorder) Run(ctx context.Context, s Session) (int, error) {
	h.sessions = append(h.sessions, s)
	if h.block {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	_, _ = io.WriteString(s.Stdout, "out of "+s.Command+"\n")
	_, _ = io.WriteString(s.Stderr, "err\n")
	return h.exit, h.err
}

func properties(m map[string]any) resource.PropertyMap { return resource.NewPropertyMapFromMap(m) }

func inputs(changes map[string]any) resource.PropertyMap {
	m := map[string]any{
		"create": "create it", "stdin": "data", "logging": "none",
		"connection": map[string]any{"host": "203.0.113.7", "user": "ubuntu"},
	}
	for k, v := range changes {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return properties(m)
}

func kind(t *testing.T, h Host) plugin.Kind {
	t.Helper()
	k := New(h).Kinds("command:remote:Command")
	require.NotNil(t, k)
	return k
}

func TestOtherTypesAreNotSupported(t *testing.T) {
	for _, typ := range []string{"command:remote:CopyToRemote", "command:local:Command", "command:remote:CopyFile"} {
		assert.Nil(t, New(&recorder{}).Kinds(typ), typ)
	}
}

func TestCheck(t *testing.T) {
	unknown := resource.MakeComputed(resource.NewProperty(""))
	for name, test := range map[string]struct {
		change   map[string]any
		unknown  resource.PropertyKey
		failures []string
	}{
		"valid":               {},
		"unknown property":    {change: map[string]any{"creates": "x"}, failures: []string{"creates"}},
		"wrong type":          {change: map[string]any{"stdin": 3.0}, failures: []string{"stdin"}},
		"no connection":       {change: map[string]any{"connection": nil}, failures: []string{"connection"}},
		"no host":             {change: map[string]any{"connection": map[string]any{}}, failures: []string{"connection.host"}},
		"proxy":               {change: map[string]any{"connection": map[string]any{"host": "h", "proxy": map[string]any{"host": "b"}}}, failures: []string{"connection.proxy"}},
		"unknown below it":    {change: map[string]any{"connection": map[string]any{"host": "h", "hosts": "x"}}, failures: []string{"connection.hosts"}},
		"logging":             {change: map[string]any{"logging": "all"}, failures: []string{"logging"}},
		"environment":         {change: map[string]any{"environment": map[string]any{"A": 1.0}}, failures: []string{"environment.A"}},
		"connection computed": {unknown: "connection"},
		"create computed":     {unknown: "create"},
	} {
		t.Run(name, func(t *testing.T) {
			in := inputs(test.change)
			if test.unknown != "" {
				in[test.unknown] = unknown
			}
			out, failures := kind(t, &recorder{}).Check(context.Background(), &plugin.Request{Inputs: in})
			var failed []string
			for _, f := range failures {
				failed = append(failed, f.Property)
			}
			assert.Equal(t, test.failures, failed)
			assert.True(t, out["addPreviousOutputInEnv"].BoolValue())
			if len(test.failures) == 0 && test.unknown != "connection" {
				assert.InEpsilon(t, 22, out["connection"].ObjectValue()["port"].NumberValue(), 0)
				assert.InEpsilon(t, 10, out["connection"].ObjectValue()["dialErrorLimit"].NumberValue(), 0)
			}
		})
	}
}

func TestCheckAcceptsAnUnknownHost(t *testing.T) {
	in := inputs(nil)
	in["connection"].ObjectValue()["host"] = resource.MakeComputed(resource.NewProperty(""))
	_, failures := kind(t, &recorder{}).Check(context.Background(), &plugin.Request{Inputs: in})
	assert.Empty(t, failures)
}

func TestDiff(t *testing.T) {
	for name, test := range map[string]struct {
		change           map[string]any
		changed, replace bool
	}{
		"no change": {},
		"create":    {change: map[string]any{"create": "other"}, changed: true},
		"delete":    {change: map[string]any{"delete": "other"}, changed: true},
		"triggers":  {change: map[string]any{"triggers": []any{"i-2"}}, changed: true, replace: true},
	} {
		t.Run(name, func(t *testing.T) {
			base := map[string]any{"triggers": []any{"i-1"}}
			after := map[string]any{"triggers": []any{"i-1"}}
			for k, v := range test.change {
				after[k] = v
			}
			diff, err := kind(t, &recorder{}).Diff(context.Background(), &plugin.Request{OldInputs: inputs(base), Inputs: inputs(after)})
			require.NoError(t, err)
			assert.Equal(t, test.changed, len(diff.Changed) > 0)
			for path, change := range diff.Changed {
				assert.Equal(t, test.replace, change.Replaces, path)
			}
			assert.False(t, diff.DeleteBeforeReplace)
		})
	}
}

func TestWhichCommandRuns(t *testing.T) {
	type op func(plugin.Kind, *plugin.Request) (resource.PropertyMap, error)
	create := func(k plugin.Kind, r *plugin.Request) (resource.PropertyMap, error) {
		_, out, err := k.Create(context.Background(), r)
		return out, err
	}
	update := func(k plugin.Kind, r *plugin.Request) (resource.PropertyMap, error) {
		return k.Update(context.Background(), r)
	}
	remove := func(k plugin.Kind, r *plugin.Request) (resource.PropertyMap, error) {
		return nil, k.Delete(context.Background(), r)
	}
	for name, test := range map[string]struct {
		op         op
		olds, news map[string]any
		preview    bool
		wantRun    string
		wantStdout any
	}{
		"create":                       {op: create, wantRun: "create it", wantStdout: "out of create it"},
		"create, in a preview":         {op: create, preview: true, wantStdout: nil},
		"no create":                    {op: create, news: map[string]any{"create": nil, "delete": "d"}, wantStdout: ""},
		"update runs create":           {op: update, news: map[string]any{"stdin": "new"}, wantRun: "create it", wantStdout: "out of create it"},
		"update":                       {op: update, news: map[string]any{"update": "update it"}, wantRun: "update it", wantStdout: "out of update it"},
		"update, in a preview":         {op: update, preview: true, wantStdout: "old"},
		"delete uses the old inputs":   {op: remove, olds: map[string]any{"delete": "old delete"}, news: map[string]any{"delete": "new"}, wantRun: "old delete"},
		"no delete":                    {op: remove},
		"update with delete only":      {op: update, news: map[string]any{"create": nil, "delete": "d"}, wantStdout: ""},
		"an empty create runs nothing": {op: create, news: map[string]any{"create": ""}, wantStdout: ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &recorder{}
			out, err := test.op(kind(t, h), &plugin.Request{
				Inputs: inputs(test.news), OldInputs: inputs(test.olds), Preview: test.preview,
				State: properties(map[string]any{"stdout": "old", "stderr": "old"}),
			})
			require.NoError(t, err)
			if test.wantRun == "" {
				assert.Empty(t, h.sessions)
			} else {
				require.Len(t, h.sessions, 1)
				assert.Equal(t, test.wantRun, h.sessions[0].Command)
			}
			if out == nil {
				return
			}
			if test.wantStdout == nil {
				assert.True(t, out["stdout"].IsComputed())
			} else {
				assert.Equal(t, test.wantStdout, out["stdout"].StringValue())
			}
		})
	}
}

func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		host *recorder
		want []string
	}{
		"exit status": {&recorder{exit: 3}, []string{"Process exited with status 3", `running "create it":`, "out of create it\nerr\n"}},
		"no exit":     {&recorder{err: errors.New("EOF")}, []string{"EOF: running"}},
		"out of time": {&recorder{block: true}, []string{"time limit of 10ms", "deadline exceeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := kind(t, test.host).Create(context.Background(), &plugin.Request{Inputs: inputs(nil), Timeout: 10 * time.Millisecond})
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "data", "standard input may be secret")
		})
	}
}

func TestEnvironment(t *testing.T) {
	state := properties(map[string]any{"stdout": "so", "stderr": "se"})
	names := func(in resource.PropertyMap, state resource.PropertyMap) (names []string) {
		for _, v := range environment(in, state) {
			names = append(names, v.Name)
		}
		return names
	}
	env := map[string]any{"environment": map[string]any{"B": "2", "A": "1"}}
	assert.Equal(t, []string{"A", "B", "PULUMI_COMMAND_STDERR", "PULUMI_COMMAND_STDOUT"}, names(inputs(env), state))
	assert.Equal(t, []string{"A", "B"}, names(inputs(env), nil))
	env["addPreviousOutputInEnv"] = false
	assert.Equal(t, []string{"A", "B"}, names(inputs(env), state))
}

func TestLogging(t *testing.T) {
	for logging, want := range map[string][]string{
		"": {"o1", "e1", "o2", "e2"}, "stdoutAndStderr": {"o1", "e1", "o2", "e2"},
		"stdout": {"o1", "o2"}, "stderr": {"e1", "e2"}, "none": nil,
	} {
		t.Run(logging, func(t *testing.T) {
			var logged []string
			out := newOutput(logging, func(line string) { logged = append(logged, line) })
			for _, write := range []struct {
				to   io.Writer
				text string
			}{{out.stdout, "o1\no"}, {out.stderr, "e1\n"}, {out.stdout, "2\n"}, {out.stderr, "e2"}} {
				_, err := io.WriteString(write.to, write.text)
				require.NoError(t, err)
			}
			out.flush()
			assert.Equal(t, want, logged)
			assert.Equal(t, "o1\no2", out.stdout.text())
			assert.Equal(t, "e1\ne2", out.stderr.text())
		})
	}
}
