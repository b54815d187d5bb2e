package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/hosts/remote"
)

// Rehearsal measures, on real machines, how much slower the program is than kubeadm alone: the time of an update from
// prepared machines to 14 Ready nodes, compared with `kubeadm init` and 13 concurrent joins by hand on identical
// machines. In both cases the packages are installed and the images pulled before the measurement begins.
//
// s must be a stack of level rehearse that does not exist yet. It is destroyed afterwards. manifest is the manifest of
// the pod network, as the machines get it.
func Rehearsal(ctx context.Context, out, progress io.Writer, s *stack.Stack, manifest string) (err error) {
	r := rehearsal{stack: s, manifest: manifest, progress: progress}
	defer func() {
		if destroyErr := r.pulumi(context.WithoutCancel(ctx), "destroy"); err == nil {
			err = destroyErr
		}
	}()
	boot, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	r.say("kubeadm init and %d joins by hand", len(r.workers))
	bare, err := timed(func() error { return r.bare(ctx) })
	if err != nil {
		return fmt.Errorf("making a cluster by hand: %w", err)
	}
	if err := r.pulumi(ctx, "destroy"); err != nil {
		return err
	}
	again, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	r.say("the program's own update")
	update, err := timed(func() error { return r.pulumi(ctx, "up") })
	if err != nil {
		return err
	}
	row := func(what string, took time.Duration) {
		_, _ = fmt.Fprintf(out, "%-58s %7.1f s\n", what, took.Seconds())
	}
	row("machines from nothing to prepared, images pulled (once)", boot)
	row("the same (again)", again)
	row("kubeadm init, the network, 13 joins at once, 14 Ready", bare)
	row("the program's update from there to 14 Ready", update)
	_, err = fmt.Fprintf(out, "%-58s %7.2f\n", "ratio", update.Seconds()/bare.Seconds())
	return err
}

func timed(do func() error) (time.Duration, error) {
	started := time.Now()
	err := do()
	return time.Since(started), err
}

type rehearsal struct {
	stack    *stack.Stack
	manifest string
	progress io.Writer

	control string
	workers []string
	// hosts maps nodes to user@address.
	hosts map[string]string
	// key is the private SSH key.
	key string
}

func (r *rehearsal) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.progress, format+"\n", args...)
}

func (r *rehearsal) pulumi(ctx context.Context, operation string, more ...string) error {
	output, err := r.stack.Output(ctx, r.stack.Operation(operation, more...)...)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", operation, err, output)
	}
	return nil
}

// prepare brings machines up to where kubeadm can begin, pulls all images, and returns how long that took.
func (r *rehearsal) prepare(ctx context.Context) (time.Duration, error) {
	r.say("booting and preparing 14 machines")
	return timed(func() error {
		if err := r.pulumi(ctx, "up", "--exclude", "**::init-k8s-master", "--exclude-dependents"); err != nil {
			return err
		}
		if err := r.find(ctx); err != nil {
			return err
		}
		r.say("pulling images")
		return r.everywhere(ctx, append([]string{r.control}, r.workers...), func(node string) error {
			images, err := r.run(ctx, r.control, "kubeadm config images list 2>/dev/null", "")
			if err != nil {
				return err
			}
			pull := strings.Fields(images)
			if node != r.control {
				// A worker needs no images of the control plane.
				pull = slices.DeleteFunc(pull, func(image string) bool {
					return !strings.Contains(image, "kube-proxy") && !strings.Contains(image, "pause")
				})
			}
			for line := range strings.Lines(r.manifest) {
				if _, image, ok := strings.Cut(line, "image: "); ok {
					pull = append(pull, strings.Trim(strings.TrimSpace(image), `"`))
				}
			}
			for _, image := range pull {
				if _, err := r.run(ctx, node, "sudo crictl pull "+image, ""); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// find reads the machines' addresses from the stack's outputs.
func (r *rehearsal) find(ctx context.Context) error {
	text, err := r.stack.Value(ctx, "ssh")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &r.hosts); err != nil {
		return fmt.Errorf("reading the machines' addresses: %w", err)
	}
	r.workers = nil
	for name, command := range r.hosts {
		r.hosts[name] = strings.TrimPrefix(command, "ssh ")
		if name == "k8s-master" {
			r.control = name
		} else {
			r.workers = append(r.workers, name)
		}
	}
	path, err := r.stack.WriteKey()
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Clean(path))
	r.key = string(key)
	return err
}

func (r *rehearsal) everywhere(ctx context.Context, nodes []string, do func(node string) error) error {
	var group errgroup.Group
	for _, node := range nodes {
		group.Go(func() error {
			if err := do(node); err != nil {
				return fmt.Errorf("on %s: %w", node, err)
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// run runs a command line on a machine, and returns its output.
func (r *rehearsal) run(ctx context.Context, node, line, stdin string) (string, error) {
	user, host, _ := strings.Cut(r.hosts[node], "@")
	var out, problems bytes.Buffer
	ignore := func(string) {}
	exit, err := remote.NewSSH().Run(ctx, remote.Session{
		Connection: remote.Connection{Host: host, Port: 22, User: user, PrivateKey: r.key, DialErrorLimit: 40, PerDialTimeout: 10},
		Command:    line, Stdin: stdin, Stdout: &out, Stderr: &problems, Status: ignore, Warn: ignore,
	})
	if err == nil && exit != 0 {
		err = fmt.Errorf("%q exited with code %d: %s%s", line, exit, out.String(), problems.String())
	}
	return out.String(), err
}

const asAdministrator = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf "

// bare makes a cluster as upstream's manual describes, with concurrent joins, and waits until all nodes are Ready, as
// the program's command `ready` does.
func (r *rehearsal) bare(ctx context.Context) error {
	// A file and not flags: the machines' kubeadm adds a setting of kube-proxy to it.
	config := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 192.168.0.0/16}\n"
	if _, err := r.run(ctx, r.control, "sudo kubeadm init --config /dev/stdin --skip-token-print 2>&1", config); err != nil {
		return err
	}
	if _, err := r.run(ctx, r.control, asAdministrator+"apply --server-side -f -", r.manifest); err != nil {
		return err
	}
	join, err := r.run(ctx, r.control, "sudo kubeadm token create --print-join-command", "")
	if err != nil {
		return err
	}
	err = r.everywhere(ctx, r.workers, func(node string) error {
		_, err := r.run(ctx, node, "sudo "+strings.TrimSpace(join)+" 2>&1", "")
		return err
	})
	if err != nil {
		return err
	}
	_, err = r.run(ctx, r.control, asAdministrator+"wait --for=condition=Ready nodes --all --timeout=900s", "")
	return err
}
