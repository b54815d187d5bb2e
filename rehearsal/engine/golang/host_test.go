package golang

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"eco2/rehearsal/internal/printed"
)

// program prints its environment and arguments as JSON. With the configuration t:sleep it starts a child process that
// sleeps, and waits for it. It exits with the code in the configuration t:exit.
const program = `package main

import ("encoding/json"; "os"; "os/exec"; "strconv"; "strings"; "fmt")

func main() {
	env := map[string]string{}
	for _, e := range os.Environ() { k, v, _ := strings.Cut(e, "="); if strings.HasPrefix(k, "PULUMI_") { env[k] = v } }
	dir, _ := os.Getwd()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"env": env, "args": os.Args, "dir": dir})
	config := map[string]string{}
	json.Unmarshal([]byte(env["PULUMI_CONFIG"]), &config)
	if config["t:sleep"] != "" { child := exec.Command("sleep", "60"); child.Stdout = os.Stdout; child.Start(); fmt.Println("child", child.Process.Pid); child.Wait() }
	code, _ := strconv.Atoi(config["t:exit"])
	os.Exit(code)
}
`

func fakeProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"),
		[]byte("module fake\n\ngo 1.26\n\nrequire (\n\texample.com/a v1.0.0\n\texample.com/b v1.1.0 // indirect\n)\n"), 0o600))
	return dir
}

func serve(t *testing.T, out io.Writer) (pulumirpc.LanguageRuntimeClient, *Host) {
	t.Helper()
	host := NewHost("127.0.0.1:2", out, out)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	host.Register(server)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); host.Close() })
	return pulumirpc.NewLanguageRuntimeClient(conn), host
}

func request(t *testing.T, dir string, options, config map[string]string) *pulumirpc.RunRequest {
	t.Helper()
	fields := map[string]any{}
	for k, v := range options {
		fields[k] = v
	}
	opts, err := structpb.NewStruct(fields)
	require.NoError(t, err)
	return &pulumirpc.RunRequest{
		Project: "eco2", Stack: "dev", Organization: "organization", Parallel: 16, DryRun: true,
		MonitorAddress: "127.0.0.1:1", Config: config, ConfigSecretKeys: []string{"t:secret"},
		Info: &pulumirpc.ProgramInfo{RootDirectory: "/root/of/it", ProgramDirectory: dir, EntryPoint: ".", Options: opts},
	}
}

func TestRunBuildsAndRuns(t *testing.T) {
	dir := fakeProgram(t)
	// Without the requirements, which are for GetProgramDependencies only: a build would download them.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fake\n\ngo 1.26\n"), 0o600))
	var out bytes.Buffer
	client, _ := serve(t, &out)
	answer, err := client.Run(context.Background(), request(t, dir, nil, map[string]string{"t:secret": "s3cret"}))
	require.NoError(t, err)
	assert.Empty(t, answer.Error)
	assert.False(t, answer.Bail)

	var seen struct {
		Env  map[string]string
		Args []string
		Dir  string
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &seen), out.String())
	assert.Equal(t, dir, seen.Dir)
	assert.NotContains(t, strings.Join(seen.Args, " "), "s3cret")
	for name, want := range map[string]string{
		"PULUMI_ORGANIZATION": "organization", "PULUMI_PROJECT": "eco2", "PULUMI_STACK": "dev",
		"PULUMI_CONFIG": `{"t:secret":"s3cret"}`, "PULUMI_CONFIG_SECRET_KEYS": `["t:secret"]`,
		"PULUMI_DRY_RUN": "true", "PULUMI_PARALLEL": "16", "PULUMI_MONITOR": "127.0.0.1:1",
		"PULUMI_ROOT_DIRECTORY": "/root/of/it", "PULUMI_ENGINE": "127.0.0.1:2",
	} {
		assert.Equal(t, want, seen.Env[name], name)
	}
}

func TestRunReportsTheExitStatus(t *testing.T) {
	dir := fakeProgram(t)
	build := exec.Command("go", "build", "-mod=mod", "-o", "prebuilt", "main.go")
	build.Dir = dir
	require.NoError(t, build.Run())
	for name, test := range map[string]struct {
		exit, binary, wantError string
		wantBail                bool
	}{
		"success":           {exit: "0", binary: "prebuilt"},
		"absolute path":     {exit: "0", binary: filepath.Join(dir, "prebuilt")},
		"logged its error":  {exit: "32", binary: "prebuilt", wantBail: true},
		"failed":            {exit: "3", binary: "prebuilt", wantError: "exit code 3"},
		"binary is missing": {exit: "0", binary: "absent", wantError: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := serve(t, &bytes.Buffer{})
			answer, err := client.Run(context.Background(),
				request(t, dir, map[string]string{"binary": test.binary}, map[string]string{"t:exit": test.exit}))
			require.NoError(t, err)
			assert.Equal(t, test.wantBail, answer.Bail)
			if test.wantError == "" {
				assert.Empty(t, answer.Error)
			}
			assert.Contains(t, answer.Error, test.wantError)
		})
	}
}

func TestRunReportsAFailedBuild(t *testing.T) {
	dir := fakeProgram(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { undefined() }\n"), 0o600))
	var out bytes.Buffer
	client, _ := serve(t, &out)
	answer, err := client.Run(context.Background(), request(t, dir, nil, nil))
	require.NoError(t, err)
	assert.Contains(t, answer.Error, "building the program")
}

func TestProgramsAreKilledWithTheEngine(t *testing.T) {
	dir := fakeProgram(t)
	build := exec.Command("go", "build", "-mod=mod", "-o", "prebuilt", "main.go")
	build.Dir = dir
	require.NoError(t, build.Run())
	for name, cancelRun := range map[string]func(context.CancelFunc, pulumirpc.LanguageRuntimeClient){
		"the call is cut off": func(cancel context.CancelFunc, _ pulumirpc.LanguageRuntimeClient) { cancel() },
		"Cancel is called": func(_ context.CancelFunc, c pulumirpc.LanguageRuntimeClient) {
			_, _ = c.Cancel(context.Background(), &emptypb.Empty{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			out := &printed.Text{}
			client, host := serve(t, out)
			returned := make(chan struct{})
			go func() {
				defer close(returned)
				_, _ = client.Run(ctx, request(t, dir, map[string]string{"binary": "prebuilt"}, map[string]string{"t:sleep": "yes"}))
			}()
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "\nchild ") }, time.Minute, 10*time.Millisecond)
			cancelRun(cancel, client)
			<-returned
			// The child of the program keeps the output open, so Close returns only when the whole process group is
			// gone.
			closed := make(chan struct{})
			go func() { host.Close(); close(closed) }()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the program or its child still runs")
			}
		})
	}
}

func TestGetProgramDependencies(t *testing.T) {
	dir := fakeProgram(t)
	client, _ := serve(t, &bytes.Buffer{})
	for transitive, want := range map[bool][]string{false: {"example.com/a"}, true: {"example.com/a", "example.com/b"}} {
		answer, err := client.GetProgramDependencies(context.Background(), &pulumirpc.GetProgramDependenciesRequest{
			TransitiveDependencies: transitive, Info: &pulumirpc.ProgramInfo{ProgramDirectory: dir},
		})
		require.NoError(t, err)
		var names []string
		for _, d := range answer.Dependencies {
			names = append(names, d.Name)
		}
		assert.Equal(t, want, names)
	}
}
