// Command rehearse runs the project's own Pulumi program on this machine, with a model of AWS and, depending on the
// level, real machines or models of them. The Makefile's targets run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"eco2/config"
	"eco2/rehearsal/cluster/conformance"
	"eco2/rehearsal/cluster/kubebench"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/internal/progress"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply"
	"eco2/rehearsal/supply/mirror"
)

func main() {
	// While the pulumi command runs, it handles an interrupt itself and completes what it has begun. This context is
	// for the work before and after that.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	var failed *stack.FailedError
	var code exitError
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.As(err, &failed):
		os.Exit(max(failed.Code, 1))
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted; run the same command again to continue")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run holds the settings and the state that the commands share.
type run struct {
	// state is the directory that all levels share. Each level has a subdirectory with its models and machines.
	repo, state, name string
	level             setup.Level
	plugins           toolchain.Plugins
	latency           float64
	// verbose says that the output of all programs is printed.
	verbose bool

	// started is when the command began.
	started time.Time
	// progress shows what is being built. It is on standard error.
	progress *progress.Display
	// host describes this host, after options has prepared it.
	host supply.Supplies
}

// stateDir returns the state directory of the level.
func (r *run) stateDir() string { return filepath.Join(r.state, string(r.level)) }

func root() *cobra.Command {
	r := &run{started: time.Now()}
	var levelName, pluginsName string
	cmd := &cobra.Command{
		Use:           "rehearse",
		Short:         "Run the project's Pulumi program on this machine, with a model of AWS",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&r.repo, "repo", ".", "the checkout of the repository")
	flags.StringVar(&r.state, "state", "", "the rehearsal's state directory (default <repo>/.rehearsal)")
	flags.StringVar(&r.name, "stack", "local", "the stack: local, dev or prod")
	flags.StringVar(&levelName, "level", string(setup.Rehearse), "how much is real: rehearse has machines in Docker, simulate has models of them")
	flags.StringVar(&pluginsName, "plugins", string(toolchain.StandInPlugins), "whose plugins the engine runs: stand-in for the rehearsal's, official for Pulumi's own, on real machines")
	flags.Float64Var(&r.latency, "latency", 0, "how slow the models are: 1 is like AWS, 0 does not wait")
	flags.BoolVar(&r.verbose, "verbose", false, "print the output of all builds, and each line of the engine's")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		r.progress = progress.New(os.Stderr, r.verbose)
		if r.repo, err = filepath.Abs(r.repo); err != nil {
			return err
		}
		if r.state == "" {
			r.state = filepath.Join(r.repo, ".rehearsal")
		}
		if r.state, err = filepath.Abs(r.state); err != nil {
			return err
		}
		if r.level, err = setup.ParseLevel(levelName); err != nil {
			return err
		}
		r.plugins, err = toolchain.ParsePlugins(pluginsName)
		return err
	}
	cmd.AddCommand(r.up(), r.preview(), r.previewDiff(), r.destroy(), r.status(), r.kubectl(), r.ssh(), r.conformance(), r.kubeBench(), r.bench(), r.benchRehearsal(), r.prepare(), r.clean())
	return cmd
}

// tools builds what is missing. If Pulumi's own plugins are selected, it first checks that they can run at this level
// and are installed.
func (r *run) tools(ctx context.Context) (toolchain.Toolchain, error) {
	if r.plugins == toolchain.StandInPlugins {
		return toolchain.BuildTools(ctx, r.repo, r.state, r.progress)
	}
	if r.level == setup.Simulate {
		return toolchain.Toolchain{}, r.onModels()
	}
	official, err := toolchain.FindOfficial(ctx)
	if err != nil {
		return toolchain.Toolchain{}, err
	}
	tools, err := toolchain.BuildTools(ctx, r.repo, r.state, r.progress)
	if err != nil {
		return toolchain.Toolchain{}, err
	}
	return tools.With(official)
}

// onModels returns an error if Pulumi's own plugins are selected: they need machines that answer.
func (r *run) onModels() error {
	if r.plugins == toolchain.StandInPlugins {
		return nil
	}
	return fmt.Errorf("PLUGINS=%s needs the real machines of LEVEL=%s; LEVEL=%s, preview-diff and bench have only models, on which only the stand-ins work",
		r.plugins, setup.Rehearse, setup.Simulate)
}

// options returns the options of a stack at this level. At level rehearse it prepares this host first.
func (r *run) options(ctx context.Context) (stack.Options, error) {
	o := stack.Options{Repo: r.repo, StateDir: r.stateDir(), Latency: r.latency, Level: r.level}
	if r.level == setup.Rehearse {
		if err := docker.SetUpHost(ctx, r.progress); err != nil {
			return o, err
		}
		host, err := supply.Build(ctx, r.repo, r.stateDir(), r.progress)
		if err != nil {
			return o, err
		}
		r.host, o.Environ, o.Config = host, host.Environ, host.Settings()
	}
	return o, nil
}

// planHost announces the builds of options, and those of mirrors that also have other versions. Call it before tools, so
// that the number of all builds is known from the beginning.
func (r *run) planHost(also ...config.Versions) error {
	if r.level != setup.Rehearse {
		return nil
	}
	missing, err := mirror.Missing(r.repo, also...)
	if err != nil {
		return err
	}
	if missing > 0 {
		_, err = fmt.Fprintf(r.progress, "building %d of upstream's programs, once; all of them take 45 minutes on two cores\n", missing)
	}
	progress.Plan(r.progress, missing+1) // the programs of the containers
	return err
}

// toolsAndOptions prepares all that a stack needs.
func (r *run) toolsAndOptions(ctx context.Context) (tools toolchain.Toolchain, o stack.Options, err error) {
	if err = r.planHost(); err != nil {
		return tools, o, err
	}
	if tools, err = r.tools(ctx); err != nil {
		return tools, o, err
	}
	o, err = r.options(ctx)
	return tools, o, err
}

func (r *run) open(ctx context.Context) (*stack.Stack, error) {
	tools, o, err := r.toolsAndOptions(ctx)
	if err != nil {
		return nil, err
	}
	return stack.Open(ctx, r.name, tools, o)
}

func (r *run) prepare() *cobra.Command {
	var tests bool
	var upgradeTo string
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Build what the other commands need, and nothing else",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			// Each of them is in a mirror of its own, together with the default versions.
			var upgrades []config.Versions
			if tests {
				upgrades = append(upgrades, mirror.UpgradeFrom)
			}
			if upgradeTo != "" {
				to, err := mirror.UpgradeTo(upgradeTo)
				if err != nil {
					return err
				}
				upgrades = append(upgrades, to)
			}
			if err := r.planHost(upgrades...); err != nil {
				return err
			}
			if _, err := r.tools(ctx); err != nil {
				return err
			}
			if r.level == setup.Rehearse && os.Geteuid() != 0 {
				// Most tests need no machines, but many need the programs that run on them.
				fmt.Fprintln(os.Stderr, "skipping Docker and the machines' image, which need root")
				r.host, err = supply.Build(ctx, r.repo, r.stateDir(), r.progress)
			} else {
				_, err = r.options(ctx)
			}
			if err != nil || r.level != setup.Rehearse {
				return err
			}
			for _, other := range upgrades {
				if _, err := supply.Build(ctx, r.repo, r.stateDir(), r.progress, other); err != nil {
					return err
				}
			}
			if !tests {
				return nil
			}
			if _, err := conformance.AddImages(ctx, r.host.Mirror, r.repo, r.progress); err != nil {
				return err
			}
			_, err = kubebench.Build(ctx, r.repo, r.progress)
			return err
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "build what only tests need too: upstream's tests of a cluster, and the versions to upgrade from")
	cmd.Flags().StringVar(&upgradeTo, "upgrade-to", "", "build this Kubernetes version too, such as 1.36.5, so that a cluster can be upgraded to it")
	return cmd
}

func (r *run) clean() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove all machines, regardless of the account and the state, and put this host's kernel settings back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The machines of `make up`, and those of tests that were killed. A simulation only leaves files.
			return docker.Clean(cmd.Context(), os.Stdout, filepath.Join(r.state, string(setup.Rehearse)), filepath.Join(r.state, "test"))
		},
	}
}
