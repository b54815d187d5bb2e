// Package plugin serves a Pulumi provider that is defined by its resource kinds.
//
// It implements the engine's provider protocol directly. The SDK's own wrapper drops the list of properties that
// force a replacement as soon as a provider returns a detailed diff, and the rehearsal's providers must return both.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"eco2/rehearsal/internal/fault"
)

// Provider implements one package of resources.
type Provider struct {
	// Name and Version identify the package, as its SDK registers it: "aws", "6.83.2".
	Name, Version string
	// Kinds returns the kind of a type token. nil means that the provider does not support the type.
	Kinds func(typ string) Kind
	// Functions holds the provider's functions (invokes) by token.
	Functions map[string]Function
	// Configure receives the provider's own inputs before any other call. Optional.
	Configure func(ctx context.Context, inputs resource.PropertyMap) error
	// DiffConfig compares the provider's own old and new inputs. Without it every change is an update.
	DiffConfig func(r *Request) (Diff, error)
}

// Kind implements one resource type. Its inputs have no secret wrappers. Values that are unknown during a preview
// are resource.Computed.
type Kind interface {
	// Check validates Inputs and returns them with defaults. Each failure names its property.
	Check(ctx context.Context, r *Request) (resource.PropertyMap, []Failure)
	// Diff compares OldInputs (and State) with Inputs.
	Diff(ctx context.Context, r *Request) (Diff, error)
	// Create creates the resource and returns its id and outputs. In a preview it creates nothing and returns the
	// outputs that are known already.
	Create(ctx context.Context, r *Request) (id string, outputs resource.PropertyMap, err error)
	// Read returns the current outputs. An empty id says that the resource does not exist. Read may set Inputs to
	// their current values: the engine shows the difference as drift, and the next update reverts it.
	Read(ctx context.Context, r *Request) (id string, outputs resource.PropertyMap, err error)
	Update(ctx context.Context, r *Request) (outputs resource.PropertyMap, err error)
	Delete(ctx context.Context, r *Request) error
}

// Function implements a function (invoke) of a provider, for instance the lookup of an AMI by owner and name.
type Function func(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, []Failure, error)

// Request holds what the engine sends about one resource in one call. Fields that a call does not have are empty.
type Request struct {
	URN       resource.URN
	Type      string
	Name      string
	ID        string
	Inputs    resource.PropertyMap
	OldInputs resource.PropertyMap
	State     resource.PropertyMap
	Preview   bool
	// Timeout is the value of the resource's customTimeouts for this operation; zero if the program sets none.
	Timeout time.Duration

	engine *engine
}

// Log writes a permanent line under this resource in the engine's display.
func (r *Request) Log(ctx context.Context, line string) {
	r.engine.log(ctx, pulumirpc.LogSeverity_INFO, r.URN, line, false)
}

// Status replaces the short text beside this resource in the engine's display, for instance with its progress.
func (r *Request) Status(ctx context.Context, line string) {
	r.engine.log(ctx, pulumirpc.LogSeverity_INFO, r.URN, line, true)
}

// Failure reports an invalid property and what is wrong with it.
type Failure struct {
	Property, Reason string
}

// Diff says which properties changed. A path is a top-level property ("name") or a part of one ("tags.Name").
type Diff struct {
	// Changed holds the changes by path.
	Changed map[string]Change
	// DeleteBeforeReplace says that the new resource cannot exist beside the old one, for instance because both
	// have the same name.
	DeleteBeforeReplace bool
}

// Change describes the change of one path.
type Change struct {
	// Op says whether the path was added, deleted or updated.
	Op Op
	// Replaces says that the change cannot be made in place and requires a replacement.
	Replaces bool
}

// Op is the operation that changes a path.
type Op int

// The operations that change a path.
const (
	Updated Op = iota
	Added
	Deleted
)

// PartialError reports a resource that exists although its creation or update failed. The engine keeps it in the
// state, and the next run updates it.
type PartialError struct {
	ID      string
	Inputs  resource.PropertyMap
	Outputs resource.PropertyMap
	Reason  string
}

func (e *PartialError) Error() string { return e.Reason }

type server struct {
	pulumirpc.UnimplementedResourceProviderServer

	provider Provider
	engine   *engine
	trace    *trace
	stateDir string
}

// begin is called before an operation. It fails if a test planted a fault for the operation.
func (s *server) begin(method string, r *Request) error {
	if r.Preview {
		return nil
	}
	return fault.FailIf(s.stateDir, fault.Call{Method: method, Type: r.Type, Name: r.Name})
}

// done is called after an operation. If a test planted a fault for it, done blocks, so that the engine does not learn
// that the operation has finished.
func (s *server) done(ctx context.Context, method string, r *Request, err error) error {
	if err != nil || r.Preview {
		return err
	}
	return fault.HangIf(ctx, s.stateDir, fault.Call{Method: method, Type: r.Type, Name: r.Name})
}

func (s *server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: s.provider.Version}, nil
}

func (s *server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	s.engine.cancel()
	return &emptypb.Empty{}, nil
}

func (s *server) CheckConfig(_ context.Context, in *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: in.News}, nil
}

func (s *server) DiffConfig(_ context.Context, in *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	r, err := s.request(in, properties{oldInputs: in.OldInputs, inputs: in.News})
	if err != nil {
		return nil, err
	}
	if s.provider.DiffConfig != nil {
		diff, err := s.provider.DiffConfig(r)
		if err != nil {
			return nil, err
		}
		return diff.response(), nil
	}
	return Compare(r.OldInputs, r.Inputs, nil).response(), nil
}

func (s *server) Configure(ctx context.Context, in *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	if s.provider.Configure != nil {
		args, err := unmarshal(in.Args)
		if err != nil {
			return nil, err
		}
		if err := s.provider.Configure(ctx, args); err != nil {
			return nil, err
		}
	}
	// Without AcceptSecrets the engine unwraps secret inputs, and marks the outputs with the same names as secret.
	return &pulumirpc.ConfigureResponse{SupportsPreview: true}, nil
}

func (s *server) Invoke(ctx context.Context, in *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	call := s.trace.start("Invoke", in.Tok, "", "", false)
	fn, ok := s.provider.Functions[in.Tok]
	if !ok {
		return nil, call.end(rpcerror.Newf(codes.NotFound, "the rehearsal's model of %s has no function %s", s.provider.Name, in.Tok))
	}
	args, err := unmarshal(in.Args)
	if err != nil {
		return nil, call.end(err)
	}
	result, failures, err := fn(ctx, args)
	if err != nil {
		return nil, call.end(err)
	}
	out, err := marshal(result)
	return &pulumirpc.InvokeResponse{Return: out, Failures: checkFailures(failures)}, call.end(err)
}

func (s *server) Check(ctx context.Context, in *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	call := s.trace.start("Check", in.Type, in.Urn, "", false)
	r, kind, err := s.resource(in, properties{oldInputs: in.Olds, inputs: in.News})
	if err != nil {
		return nil, call.end(err)
	}
	inputs, failures := kind.Check(ctx, r)
	out, err := marshal(inputs)
	return &pulumirpc.CheckResponse{Inputs: out, Failures: checkFailures(failures)}, call.end(err)
}

func (s *server) Diff(ctx context.Context, in *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	call := s.trace.start("Diff", in.Type, in.Urn, in.Id, false)
	r, kind, err := s.resource(in, properties{oldInputs: in.OldInputs, state: in.Olds, inputs: in.News})
	if err != nil {
		return nil, call.end(err)
	}
	r.ID = in.Id
	diff, err := kind.Diff(ctx, r)
	if err != nil {
		return nil, call.end(err)
	}
	// The engine applies ignoreChanges by keeping the old inputs, and also sends the names. Apply the names, too, so
	// that a kind which compares with its state cannot report an ignored change.
	for path := range diff.Changed {
		if slices.ContainsFunc(in.IgnoreChanges, func(ignored string) bool { return covers(ignored, path) }) {
			delete(diff.Changed, path)
		}
	}
	return diff.response(), call.end(nil)
}

func (s *server) Create(ctx context.Context, in *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	call := s.trace.start("Create", in.Type, in.Urn, "", in.Preview)
	r, kind, err := s.resource(in, properties{inputs: in.Properties})
	if err != nil {
		return nil, call.end(err)
	}
	r.Preview, r.Timeout = in.Preview, seconds(in.Timeout)
	ctx, done := s.engine.operation(ctx)
	defer done()
	if err := s.begin("Create", r); err != nil {
		return nil, call.end(err)
	}
	id, outputs, err := kind.Create(ctx, r)
	if err = s.done(ctx, "Create", r, err); err != nil {
		return nil, call.end(partial(err))
	}
	call.id = id
	out, err := marshal(outputs)
	return &pulumirpc.CreateResponse{Id: id, Properties: out}, call.end(err)
}

func (s *server) Read(ctx context.Context, in *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	call := s.trace.start("Read", in.Type, in.Urn, in.Id, false)
	r, kind, err := s.resource(in, properties{inputs: in.Inputs, state: in.Properties})
	if err != nil {
		return nil, call.end(err)
	}
	r.ID = in.Id
	id, outputs, err := kind.Read(ctx, r)
	if err != nil {
		return nil, call.end(err)
	}
	if id == "" {
		return &pulumirpc.ReadResponse{}, call.end(nil)
	}
	out, err := marshal(outputs)
	if err != nil {
		return nil, call.end(err)
	}
	inputs, err := marshal(r.Inputs)
	return &pulumirpc.ReadResponse{Id: id, Properties: out, Inputs: inputs}, call.end(err)
}

func (s *server) Update(ctx context.Context, in *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	call := s.trace.start("Update", in.Type, in.Urn, in.Id, in.Preview)
	r, kind, err := s.resource(in, properties{oldInputs: in.OldInputs, state: in.Olds, inputs: in.News})
	if err != nil {
		return nil, call.end(err)
	}
	r.ID, r.Preview, r.Timeout = in.Id, in.Preview, seconds(in.Timeout)
	ctx, done := s.engine.operation(ctx)
	defer done()
	outputs, err := kind.Update(ctx, r)
	if err = s.done(ctx, "Update", r, err); err != nil {
		return nil, call.end(partial(err))
	}
	out, err := marshal(outputs)
	return &pulumirpc.UpdateResponse{Properties: out}, call.end(err)
}

func (s *server) Delete(ctx context.Context, in *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	call := s.trace.start("Delete", in.Type, in.Urn, in.Id, false)
	r, kind, err := s.resource(in, properties{oldInputs: in.OldInputs, state: in.Properties})
	if err != nil {
		return nil, call.end(err)
	}
	r.ID, r.Timeout = in.Id, seconds(in.Timeout)
	ctx, done := s.engine.operation(ctx)
	defer done()
	if err := s.begin("Delete", r); err != nil {
		return nil, call.end(err)
	}
	return &emptypb.Empty{}, call.end(s.done(ctx, "Delete", r, kind.Delete(ctx, r)))
}

// resourceCall is a call about one resource. Older engines send the type and the name in the URN only.
type resourceCall interface {
	GetUrn() string
	GetType() string
	GetName() string
}

// properties holds the property sets of a call.
type properties struct{ inputs, oldInputs, state *structpb.Struct }

// resource converts a call about one resource and returns the resource's kind.
func (s *server) resource(call resourceCall, p properties) (*Request, Kind, error) {
	r, err := s.request(call, p)
	if err != nil {
		return nil, nil, err
	}
	kind := s.provider.Kinds(r.Type)
	if kind == nil {
		return nil, nil, rpcerror.Newf(codes.Unimplemented,
			"the rehearsal's model of %s does not support the resource type %s (%s)", s.provider.Name, r.Type, r.Name)
	}
	return r, kind, nil
}

func (s *server) request(call resourceCall, p properties) (*Request, error) {
	urn := resource.URN(call.GetUrn())
	if !urn.IsValid() {
		return nil, rpcerror.Newf(codes.InvalidArgument, "the engine sent an invalid URN: %q", urn)
	}
	r := &Request{URN: urn, Type: call.GetType(), Name: call.GetName(), engine: s.engine}
	if r.Type == "" {
		r.Type, r.Name = string(urn.Type()), urn.Name()
	}
	for _, property := range []struct {
		from *structpb.Struct
		to   *resource.PropertyMap
	}{{p.inputs, &r.Inputs}, {p.oldInputs, &r.OldInputs}, {p.state, &r.State}} {
		var err error
		if *property.to, err = unmarshal(property.from); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// partial converts a PartialError to the protocol's ErrorResourceInitFailed. It returns other errors as they are.
func partial(err error) error {
	var p *PartialError
	if !errors.As(err, &p) {
		return err
	}
	outputs, merr := marshal(p.Outputs)
	if merr != nil {
		return merr
	}
	inputs, merr := marshal(p.Inputs)
	if merr != nil {
		return merr
	}
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, p.Reason), &pulumirpc.ErrorResourceInitFailed{
		Id: p.ID, Properties: outputs, Inputs: inputs, Reasons: []string{p.Reason},
	})
}

func (d Diff) response() *pulumirpc.DiffResponse {
	out := &pulumirpc.DiffResponse{
		Changes:             pulumirpc.DiffResponse_DIFF_NONE,
		DeleteBeforeReplace: d.DeleteBeforeReplace,
		HasDetailedDiff:     true,
		DetailedDiff:        map[string]*pulumirpc.PropertyDiff{},
	}
	replaces := map[Op][2]pulumirpc.PropertyDiff_Kind{
		Added:   {pulumirpc.PropertyDiff_ADD, pulumirpc.PropertyDiff_ADD_REPLACE},
		Deleted: {pulumirpc.PropertyDiff_DELETE, pulumirpc.PropertyDiff_DELETE_REPLACE},
		Updated: {pulumirpc.PropertyDiff_UPDATE, pulumirpc.PropertyDiff_UPDATE_REPLACE},
	}
	for path, change := range d.Changed {
		out.Changes = pulumirpc.DiffResponse_DIFF_SOME
		kind := replaces[change.Op][0]
		if change.Replaces {
			kind = replaces[change.Op][1]
			out.Replaces = append(out.Replaces, top(path))
		}
		out.Diffs = append(out.Diffs, top(path))
		out.DetailedDiff[path] = &pulumirpc.PropertyDiff{Kind: kind, InputDiff: true}
	}
	slices.Sort(out.Replaces)
	slices.Sort(out.Diffs)
	out.Replaces, out.Diffs = slices.Compact(out.Replaces), slices.Compact(out.Diffs)
	return out
}

func checkFailures(failures []Failure) []*pulumirpc.CheckFailure {
	out := make([]*pulumirpc.CheckFailure, len(failures))
	for i, f := range failures {
		out[i] = &pulumirpc.CheckFailure{Property: f.Property, Reason: f.Reason}
	}
	return out
}

func unmarshal(s *structpb.Struct) (resource.PropertyMap, error) {
	m, err := plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
	if err != nil {
		return nil, fmt.Errorf("reading properties from the engine: %w", err)
	}
	return m, nil
}

func marshal(m resource.PropertyMap) (*structpb.Struct, error) {
	s, err := plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true, KeepSecrets: true})
	if err != nil {
		return nil, fmt.Errorf("sending properties to the engine: %w", err)
	}
	return s, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
