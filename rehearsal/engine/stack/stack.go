// Package stack runs the pulumi command on the real project with a stack's settings. All that a rehearsal leaves is in
// one state directory.
package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"gopkg.in/yaml.v3"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
)

// parallel is how many resources the engine works on at once. The default depends on the number of cores, which is too
// few: an update mostly waits.
const parallel = "64"

// Stack is one stack of the project, ready for the pulumi command.
type Stack struct {
	Name string
	// StateDir is the rehearsal's state directory, with models, backend and toolchain.
	StateDir string
	// Project is the name in Pulumi.yaml.
	Project string

	tools   toolchain.Toolchain
	dir     string
	environ []string
}

// Options say where a stack's settings and state come from, and which settings differ.
type Options struct {
	// Repo is the checkout of the whole repository.
	Repo     string
	StateDir string
	// SettingsOf is the stack whose committed settings are used; empty means the stack's own.
	SettingsOf string
	// Config are settings that override those of the stack file. Keys have no project name, values are as YAML would
	// decode them. Nil removes a key.
	Config map[string]any
	// Latency is a factor for the models' latencies: 1 is like AWS, 0 does not wait.
	Latency float64
	// Level says how much is real; empty means setup.Simulate.
	Level setup.Level
	// Environ are additional environment variables that the level's plugins need.
	Environ []string
	// Backend has environment variables that select another backend; nil means a directory in StateDir.
	Backend []string
}

// Open prepares a stack: its project with the built program, its settings, and its backend. Settings that the committed
// file cannot contain, such as secrets, get throw-away values.
func Open(ctx context.Context, name string, tools toolchain.Toolchain, o Options) (*Stack, error) {
	secrets, err := loadThrowAway(o.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Stack{Name: name, StateDir: o.StateDir, tools: tools, dir: filepath.Join(o.StateDir, "stacks", name)}
	s.environ = append(tools.Environ(o.StateDir),
		"PULUMI_CONFIG_PASSPHRASE="+secrets.Passphrase,
		fmt.Sprintf("%s=%g", setup.LatencyEnv, o.Latency),
		setup.LevelEnv+"="+string(o.Level),
		// The flag --event-log only exists with this.
		"PULUMI_DEBUG_COMMANDS=true",
	)
	s.environ = append(s.environ, o.Environ...)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the directory of stack %s: %w", name, err)
	}
	if err := s.writeProject(o.Repo); err != nil {
		return nil, err
	}
	if err := s.writeSettings(ctx, o, secrets); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(o.StateDir, "backend"), 0o755); err != nil {
		return nil, fmt.Errorf("creating the backend: %w", err)
	}
	if o.Backend != nil {
		s.environ = append(s.environ, o.Backend...)
		if output, err := s.Output(ctx, "stack", "select", "--create", "--stack", name); err != nil {
			return nil, fmt.Errorf("selecting stack %s: %w\n%s", name, err, output)
		}
		return s, nil
	}
	if _, err := os.Stat(s.CheckpointFile()); errors.Is(err, fs.ErrNotExist) {
		if output, err := s.Output(ctx, "stack", "init", "--stack", name); err != nil {
			return nil, fmt.Errorf("creating stack %s: %w\n%s", name, err, output)
		}
	}
	return s, s.breakStaleLock()
}

// CheckpointFile returns the path of the file in which the file backend keeps the stack's state.
func (s *Stack) CheckpointFile() string {
	return filepath.Join(s.StateDir, "backend", ".pulumi", "stacks", s.Project, s.Name+".json")
}

// writeProject writes a copy of the project's Pulumi.yaml that uses the built program. Otherwise the engine would build
// it for the preview, and again for the update.
func (s *Stack) writeProject(repo string) error {
	project, err := readYAML(filepath.Join(repo, "Pulumi.yaml"))
	if err != nil {
		return err
	}
	s.Project, _ = project["name"].(string)
	project["runtime"] = map[string]any{"name": "go", "options": map[string]any{"binary": s.tools.Program}}
	project["main"] = repo
	return writeYAML(filepath.Join(s.dir, "Pulumi.yaml"), project)
}

// writeSettings writes the stack's committed settings unchanged, with throw-away values for those that they cannot
// contain, or that only their owner can decrypt.
func (s *Stack) writeSettings(ctx context.Context, o Options, secrets throwAway) error {
	from := s.Name
	if o.SettingsOf != "" {
		from = o.SettingsOf
	}
	path := filepath.Join(o.Repo, "Pulumi."+from+".yaml")
	if from == "local" {
		path = filepath.Join(o.Repo, "rehearsal", "Pulumi.local.yaml")
	}
	settings, err := readYAML(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no stack %q: the stacks are local, dev and prod", from)
	}
	if err != nil {
		return err
	}
	values, _ := settings["config"].(map[string]any)
	if values == nil {
		values = map[string]any{}
	}
	key := func(name string) string { return s.Project + ":" + name }
	crypter := secrets.crypter()
	encrypted := func(plain string) (map[string]any, error) {
		text, err := crypter.EncryptValue(ctx, plain)
		return map[string]any{"secure": text}, err
	}
	// Keep the committed addresses, and add the rehearsal's operator.
	admins, _ := values[key("adminCidrs")].([]any)
	values[key("adminCidrs")] = append(admins, setup.OperatorAddress+"/32")
	domain, _ := values[key("domain")].(string)
	if _, set := values[key("hostedZoneId")]; domain != "" && !set {
		values[key("hostedZoneId")] = setup.HostedZone
	}
	// The committed secrets are encrypted with a key that only their owner has.
	delete(settings, "secretsprovider")
	delete(settings, "encryptedkey")
	private := maps.Clone(secrets.Passwords)
	private["sshPrivateKey"] = secrets.PrivateKey
	for name, plain := range private {
		value, err := encrypted(plain)
		if err != nil {
			return fmt.Errorf("encrypting the throw-away %s: %w", name, err)
		}
		values[key(name)] = value
	}
	for name, value := range o.Config {
		if secret, ok := value.(Secret); ok {
			if value, err = encrypted(string(secret)); err != nil {
				return fmt.Errorf("encrypting %s: %w", name, err)
			}
		}
		values[key(name)] = value
		if value == nil {
			delete(values, key(name))
		}
	}
	settings["encryptionsalt"] = secrets.EncryptionSalt
	settings["config"] = values
	return writeYAML(filepath.Join(s.dir, "Pulumi."+s.Name+".yaml"), settings)
}

// Secret is a plain value of Options.Config that Open encrypts.
type Secret string

// Operation returns the arguments for an up, a preview or a destroy of this stack. Up and destroy neither preview nor
// ask for confirmation.
func (s *Stack) Operation(name string, more ...string) []string {
	args := []string{name, "--parallel", parallel, "--stack", s.Name}
	if name != "preview" {
		args = append(args, "--yes", "--skip-preview")
	}
	return append(args, more...)
}

// Run runs the pulumi command on the terminal. Its failure is a *FailedError. Run ignores an interrupt and a cancelled
// context: the terminal sends an interrupt to the command too, and the engine then completes what it has begun before
// it exits. A second interrupt, as the cancelled context would send, would make it abandon that.
func (s *Stack) Run(ctx context.Context, args ...string) error {
	cmd := s.Command(context.WithoutCancel(ctx), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		signal.Stop(signals)
		return fmt.Errorf("starting pulumi: %w", err)
	}
	go func() {
		for sig := range signals {
			if sig == syscall.SIGTERM { // which only this process receives
				_ = cmd.Process.Signal(os.Interrupt) // it may have exited by itself
			}
		}
	}()
	err := cmd.Wait()
	signal.Stop(signals)
	close(signals)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &FailedError{Code: exit.ExitCode()}
	}
	return err
}

// FailedError is the failure of a pulumi command that ran on the terminal, and has printed the reason there. Do not
// print it again.
type FailedError struct {
	// Code is its exit code; -1 if it was killed by a signal.
	Code int
}

func (e *FailedError) Error() string { return fmt.Sprintf("pulumi exited with code %d", e.Code) }

// Output runs the pulumi command, and returns what it printed on stdout and stderr.
func (s *Stack) Output(ctx context.Context, args ...string) (string, error) {
	var text strings.Builder
	cmd := s.Command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	return text.String(), err
}

// Command returns the pulumi command with the stack's environment, not yet started.
func (s *Stack) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.tools.Pulumi, args...)
	cmd.Dir, cmd.Env = s.dir, s.environ
	// After an interrupt the engine completes what it has begun. If it were killed, it would forget resources.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// breakStaleLock removes a lock whose owner no longer runs. The file backend cannot find that out. Here the owner can
// only have been a process of this machine.
func (s *Stack) breakStaleLock() error {
	locks, err := filepath.Glob(filepath.Join(s.StateDir, "backend", ".pulumi", "locks", "organization", s.Project, s.Name, "*.json"))
	if err != nil {
		return fmt.Errorf("looking for locks: %w", err)
	}
	for _, path := range locks {
		var lock struct {
			Pid int `json:"pid"`
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, &lock)
		}
		if err != nil {
			return fmt.Errorf("reading the lock %s: %w", path, err)
		}
		if syscall.Kill(lock.Pid, 0) == nil {
			return fmt.Errorf("stack %s is being worked on by process %d; wait for it, or stop it", s.Name, lock.Pid)
		}
		fmt.Fprintf(os.Stderr, "the run that held stack %s (process %d) was killed; removing its lock\n", s.Name, lock.Pid)
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing the lock of a killed run: %w", err)
		}
	}
	return nil
}

// Value returns an output of the stack, decrypted if it is a secret: a string as it is, anything else as JSON.
func (s *Stack) Value(ctx context.Context, name string) (string, error) {
	value, err := s.Command(ctx, "stack", "output", name, "--show-secrets", "--stack", s.Name).Output()
	if err != nil {
		return "", fmt.Errorf("reading output %s of stack %s: %w", name, s.Name, err)
	}
	return string(value), nil
}

// Outputs returns the stack's outputs. A secret is "[secret]".
func (s *Stack) Outputs(ctx context.Context) (map[string]any, error) {
	var outputs map[string]any
	data, err := s.Command(ctx, "stack", "output", "--json", "--stack", s.Name).Output()
	if err == nil {
		err = json.Unmarshal(data, &outputs)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the outputs of stack %s: %w", s.Name, err)
	}
	return outputs, nil
}

// WriteKey writes the private key for the machines into the state directory, and returns the file's path.
func (s *Stack) WriteKey() (string, error) {
	secrets, err := loadThrowAway(s.StateDir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.StateDir, "ssh.key")
	if err := os.WriteFile(path, []byte(secrets.PrivateKey), 0o600); err != nil {
		return "", fmt.Errorf("writing the machines' key: %w", err)
	}
	return path, nil
}

// Resource holds the fields of a resource in a stack's state that the rehearsal uses.
type Resource struct {
	URN          resource.URN
	Type         string
	Dependencies []resource.URN
	// DeletedWith is the resource whose delete also deletes this one, without a call; empty for most.
	DeletedWith resource.URN
	Parent      resource.URN
	// Provider is the provider's URN and id, separated by "::".
	Provider string
	Inputs   map[string]any
}

// DependsOn returns all resources that the engine creates before this one, and deletes after it.
func (r Resource) DependsOn() []resource.URN {
	after := append(slices.Clone(r.Dependencies), r.Parent, r.DeletedWith)
	if provider, _, ok := cutLast(r.Provider, "::"); ok {
		after = append(after, resource.URN(provider))
	}
	return slices.DeleteFunc(after, func(urn resource.URN) bool { return urn == "" })
}

func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

// Resources returns the resources in the stack's state. Secrets in them remain encrypted.
func (s *Stack) Resources(ctx context.Context) ([]Resource, error) {
	var exported struct {
		Deployment struct{ Resources []Resource }
	}
	cmd := s.Command(ctx, "stack", "export", "--stack", s.Name)
	data, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(data, &exported)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", s.Name, err)
	}
	return exported.Deployment.Resources, nil
}

func readYAML(path string) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	out := map[string]any{}
	if err := yaml.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("reading settings %s: %w", path, err)
	}
	return out, nil
}

func writeYAML(path string, value any) error {
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing settings %s: %w", path, err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}
