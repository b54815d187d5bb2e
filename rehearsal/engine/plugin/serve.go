package plugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// StateDirEnv is the environment variable with the rehearsal's state directory. Plugins inherit it from the engine.
const StateDirEnv = "ECO2_REHEARSAL_STATE"

// maxMessage is the engine's own limit for one message, in bytes. CRD bundles and kubeconfigs exceed gRPC's default of
// 4 MiB.
const maxMessage = 400 << 20

// Main runs a provider plugin as the engine expects it: it takes the engine's address from the last argument, prints
// its port to standard output, and exits when the engine does.
func Main(build func(stateDir string) (Provider, error)) {
	if err := run(build); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(build func(stateDir string) (Provider, error)) error {
	stateDir := os.Getenv(StateDirEnv)
	if stateDir == "" {
		return fmt.Errorf("%s is not set: this plugin belongs to the rehearsal; run it with `make up` and the other make targets", StateDirEnv)
	}
	provider, err := build(stateDir)
	if err != nil {
		return err
	}
	trace, err := openTrace(provider.Name, stateDir)
	if err != nil {
		return fmt.Errorf("opening the trace of calls: %w", err)
	}
	address := ""
	if len(os.Args) > 1 {
		address = os.Args[len(os.Args)-1]
	}
	engine, err := dial(address)
	if err != nil {
		return err
	}
	return Serve(address, func(s *grpc.Server) {
		pulumirpc.RegisterResourceProviderServer(s, &server{provider: provider, engine: engine, trace: trace, stateDir: stateDir})
	})
}

// Serve listens on a free loopback port, prints it, and serves until the engine at engineAddress does not answer any
// more or SIGINT or SIGTERM arrives. An empty engineAddress is not watched.
func Serve(engineAddress string, register func(*grpc.Server)) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	// Only the engine needs the passphrase. The processes that a plugin starts, a program or a machine's script, must
	// not inherit it.
	if err := os.Unsetenv("PULUMI_CONFIG_PASSPHRASE"); err != nil {
		return fmt.Errorf("dropping the passphrase: %w", err)
	}
	// The engine stops plugins with SIGINT. A shell starts background jobs with SIGINT ignored, and their child
	// processes ignore it, too, unless they register for it explicitly.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if engineAddress != "" {
		// A killed engine cannot stop its plugins, so they watch it.
		if err := rpcutil.Healthcheck(ctx, engineAddress, 2*time.Second, stop); err != nil {
			return fmt.Errorf("watching the engine at %s: %w", engineAddress, err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the engine: %w", err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	register(server)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		server.Stop()
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return server.Serve(listener)
}

// engine is the connection to the engine: its log, and the running operations, which it may cancel.
type engine struct {
	client pulumirpc.EngineClient

	mu        sync.Mutex
	cancelled bool
	stops     map[int]context.CancelFunc
	next      int
}

func dial(address string) (*engine, error) {
	e := &engine{stops: map[int]context.CancelFunc{}}
	if address == "" {
		return e, nil
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connecting to the engine at %s: %w", address, err)
	}
	e.client = pulumirpc.NewEngineClient(conn)
	return e, nil
}

func (e *engine) log(ctx context.Context, severity pulumirpc.LogSeverity, urn resource.URN, line string, ephemeral bool) {
	if e.client == nil {
		return
	}
	// An error is ignored: a missing line in the display must not fail a resource.
	_, _ = e.client.Log(ctx, &pulumirpc.LogRequest{
		Severity: severity, Message: line, Urn: string(urn), Ephemeral: ephemeral,
	})
}

// operation returns a context for a create, update or delete. The engine's Cancel call cancels it: the engine calls
// Cancel when the user interrupts it, and waits until the operations return. At the second interrupt it does not wait.
func (e *engine) operation(ctx context.Context) (context.Context, func()) {
	ctx, stop := context.WithCancel(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cancelled {
		stop()
	}
	key := e.next
	e.next++
	e.stops[key] = stop
	return ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		stop()
		delete(e.stops, key)
	}
}

func (e *engine) cancel() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancelled = true
	for _, stop := range e.stops {
		stop()
	}
}
