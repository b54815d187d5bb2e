package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	dockernet "github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/metadata"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/gitserver"
)

const (
	// stopLimit is how many seconds a machine may take to shut down. Each unit may take ten, see image/system.conf.
	stopLimit = 20
	// bootLimit bounds a boot. A machine alone takes a second; the limit is for many at once on few cores.
	bootLimit = 2 * time.Minute
)

func isNotFound(err error) bool { return cerrdefs.IsNotFound(err) }

func boxName(box container.Summary) string {
	return strings.TrimPrefix(strings.Join(box.Names, ""), "/")
}

// run brings one machine into its desired state: it creates the container, starts or stops it, or loads a changed
// firewall, as needed. It returns the container's id if the container runs.
func (d *Driver) run(ctx context.Context, m machine, box container.Summary) (id string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("running machine %s (%s): %w", m.title(), m.ID, err)
		}
	}()
	files := d.files(m.ID)
	if box.State == container.StateDead || box.State == container.StateRemoving { // an interrupted removal
		if err := d.remove(ctx, box); err != nil {
			return "", err
		}
		box = container.Summary{}
	}
	id = box.ID
	if id == "" {
		if id, err = d.create(ctx, m); err != nil {
			return "", err
		}
	}
	stopped := box.State != container.StateRunning
	if m.State != "running" {
		if stopped {
			return "", nil
		}
		return "", d.docker.ContainerStop(ctx, id, container.StopOptions{})
	}
	disks, err := d.attach(ctx, m.disks)
	if err != nil {
		return "", err
	}
	if !stopped && files.holds("launch", m.launch()) {
		return id, errors.Join(d.reload(ctx, id, files, m.firewall), d.updateDisks(ctx, id, files, disks))
	}
	if !stopped {
		if err := d.docker.ContainerStop(ctx, id, container.StopOptions{}); err != nil {
			return "", fmt.Errorf("stopping it: %w", err)
		}
	}
	// The machine loads its firewall and makes its disks' device files when it starts.
	if err := errors.Join(files.write(firewallFile, m.firewall), files.write(inForce, m.firewall), files.write("launch", m.launch()),
		files.write(disksFile, disks)); err != nil {
		return "", err
	}
	if err := d.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return "", fmt.Errorf("starting it: %w", err)
	}
	return id, nil
}

// controlPlaneShares is the CPU weight of the control plane's container; the other machines have Docker's default of
// 1024. On AWS the control plane has its own processors, and all machines wait for it.
const controlPlaneShares = 8 * 1024

// create creates the container of a machine without starting it.
func (d *Driver) create(ctx context.Context, m machine) (id string, err error) {
	files := d.files(m.ID)
	trusted, err := authority.Open()
	if err != nil {
		return "", err
	}
	err = errors.Join(
		files.write("authority.pem", trusted.PEM()), files.write("hostname", m.hostname), files.write("login", m.login), files.write("authorized_keys", m.authorizedKey),
		files.write("resolver", m.network.resolver().String()), files.write("services", metadata.Address+" "+setup.MirrorAddress),
	)
	if m.hostKey != "" {
		err = errors.Join(err, files.writeMode("host_key", m.hostKey, 0o600))
	}
	if err != nil {
		return "", err
	}
	image, err := imageTag()
	if err != nil {
		return "", err
	}
	limit := stopLimit
	host := &container.HostConfig{
		CgroupnsMode: container.CgroupnsModePrivate,
		Tmpfs:        map[string]string{"/tmp": "exec", "/run": "exec", "/run/lock": ""},
		Binds:        []string{files.dir + ":/etc/rehearsal:ro"},
	}
	if m.Tags["Role"] == "control-plane" {
		host.CPUShares = controlPlaneShares
	}
	if _, err := os.Stat("/lib/modules"); err == nil {
		host.Binds = append(host.Binds, "/lib/modules:/lib/modules:ro")
	}
	if err := unconfine(host); err != nil {
		return "", err
	}
	answer, err := d.docker.ContainerCreate(ctx,
		&container.Config{
			Image: image, Hostname: m.hostname, StopTimeout: &limit,
			Tty:    true, // shows systemd's boot messages in `docker logs`
			Labels: map[string]string{Label: d.stateDir, idLabel: m.ID, nameLabel: m.title()},
			// overlayfs cannot be nested, and etcd is sensitive to a slow disk: these are on the host's file system.
			Volumes: map[string]struct{}{"/var/lib/containerd": {}, "/var/lib/kubelet": {}, "/var/lib/etcd": {}},
		},
		host, endpoint(m.network, m.PrivateIP), nil, dockerName(m.title(), m.ID))
	if err != nil {
		return "", fmt.Errorf("creating its container: %w", err)
	}
	return answer.ID, nil
}

func endpoint(n network, ip string) *dockernet.NetworkingConfig {
	return &dockernet.NetworkingConfig{EndpointsConfig: map[string]*dockernet.EndpointSettings{
		dockerName(n.Name, n.ID): {IPAMConfig: &dockernet.EndpointIPAMConfig{IPv4Address: ip}},
	}}
}

// capabilities are all capabilities that Docker 20.10 can give a container, except CAP_SYS_RESOURCE.
var capabilities = strings.Fields(`AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH
	FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
	NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT
	SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG WAKE_ALARM`)

// unconfine gives a container the privileges that systemd, kubelet and containerd need. Usually that is a privileged
// container. Where this host's root itself lacks CAP_SYS_RESOURCE, no container can have it and Docker refuses a
// privileged one, so unconfine sets everything else that privileged implies.
func unconfine(host *container.HostConfig) error {
	bounded, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	if host.Privileged = bounded == 1; host.Privileged {
		return nil
	}
	host.CapAdd = capabilities
	host.SecurityOpt = []string{"seccomp=unconfined", "apparmor=unconfined"}
	host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{} // empty means none, nil means Docker's defaults
	host.DeviceCgroupRules = []string{"a *:* rwm"}
	return nil
}

func (d *Driver) remove(ctx context.Context, box container.Summary) error {
	err := d.docker.ContainerRemove(ctx, box.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("removing %s: %w", boxName(box), err)
	}
	if err := os.RemoveAll(d.files(box.Labels[idLabel]).dir); err != nil {
		return fmt.Errorf("removing the files of %s: %w", boxName(box), err)
	}
	return nil
}

// reload loads a changed firewall in a running machine. It records the loaded ruleset only afterwards, so that after a
// kill in between the next run loads it again.
func (d *Driver) reload(ctx context.Context, box string, files files, ruleset string) error {
	if files.holds(inForce, ruleset) {
		return nil
	}
	// A booting machine may still load the old one.
	if err := d.awaitBoot(ctx, box); err != nil {
		return err
	}
	if err := files.write(firewallFile, ruleset); err != nil {
		return err
	}
	// The machine also does this by itself, a moment later; loading it here makes sure that it is in force on return.
	output, exit, err := d.exec(ctx, box, "nft", "--file", "/etc/rehearsal/"+firewallFile)
	if err == nil && exit != 0 {
		err = fmt.Errorf("nft exited with code %d%s", exit, indented(output))
	}
	if err != nil {
		return fmt.Errorf("changing its firewall: %w", err)
	}
	return files.write(inForce, ruleset)
}

// awaitBoot waits until a machine has booted. It accepts failed units: systemd may be "running" or "degraded".
func (d *Driver) awaitBoot(ctx context.Context, box string) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	for {
		output, _, err := d.exec(ctx, box, "systemctl", "is-system-running", "--wait")
		state := strings.TrimSpace(output)
		if err == nil && (state == "running" || state == "degraded") {
			return nil
		}
		info, inspectErr := d.docker.ContainerInspect(ctx, box)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for it to boot: %w (systemd says %q)%s", ctx.Err(), state, d.console(box, true))
		case inspectErr != nil:
			return fmt.Errorf("waiting for it to boot: %w", inspectErr)
		case !info.State.Running:
			return fmt.Errorf("booting it: its first process exited with code %d%s", info.State.ExitCode, d.console(box, true))
		}
		time.Sleep(100 * time.Millisecond) // systemd does not answer yet
	}
}

// console returns the last lines that a container's first process printed. tty says whether the container has a
// terminal: then the log is one plain stream, otherwise Docker multiplexes stdout and stderr in it.
func (d *Driver) console(box string, tty bool) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	logs, err := d.docker.ContainerLogs(ctx, box, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(shownLines)})
	if err != nil {
		return "" // the log is only an addition to the actual error
	}
	defer func() { _ = logs.Close() }() // it was read
	var text bytes.Buffer               // as much as could be read
	if tty {
		_, _ = io.Copy(&text, logs)
	} else {
		_, _ = stdcopy.StdCopy(&text, &text, logs)
	}
	return indented(text.String())
}

// exec runs a command in a machine and waits for it.
func (d *Driver) exec(ctx context.Context, box string, args ...string) (output string, exit int, err error) {
	created, err := d.docker.ContainerExecCreate(ctx, box, container.ExecOptions{Cmd: args, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", 0, err
	}
	stream, err := d.docker.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", 0, err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, stream.Reader); err != nil {
		return text.String(), 0, errors.Join(ctx.Err(), err)
	}
	done, err := d.docker.ContainerExecInspect(ctx, created.ID)
	return text.String(), done.ExitCode, err
}

// files is the directory with a machine's own configuration. It is in the state directory, and mounted read-only at
// /etc/rehearsal in the machine.
type files struct{ dir string }

func (d *Driver) files(id string) files { return filesOf(d.stateDir, id) }

func filesOf(stateDir, id string) files { return files{filepath.Join(stateDir, directory, id)} }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

const (
	// firewallFile is the ruleset that the machine loads when it boots and whenever the file changes.
	firewallFile = "firewall.nft"
	// inForce is a copy of the ruleset that a driver last loaded, or that the machine started with.
	inForce = "firewall.in-force"
)

// write writes a file atomically.
func (f files) write(name, text string) error { return f.writeMode(name, text, 0o644) }

func (f files) writeMode(name, text string, mode os.FileMode) error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("writing the machine's files: %w", err)
	}
	if err := os.WriteFile(f.path(name+".new"), []byte(text+"\n"), mode); err != nil {
		return fmt.Errorf("writing the machine's files: %w", err)
	}
	return os.Rename(f.path(name+".new"), f.path(name))
}

func (f files) holds(name, text string) bool {
	data, err := os.ReadFile(f.path(name))
	return err == nil && string(data) == text+"\n"
}

// servicesLimit bounds how long a started services container may take to answer.
const servicesLimit = 15 * time.Second

// runServices makes sure that the services of a VPC run, in a container at its second address. It replaces a container
// that was made from another image, program, mirror directory or certificate authority.
func (d *Driver) runServices(ctx context.Context, n network, box container.Summary) error {
	binary := filepath.Join(d.stateDir, "bin", "vpc")
	program, err := os.ReadFile(binary)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("starting the services of %s: %s is missing; build it with `go build ./cmd/vpc`, or bring the stack up with make", n.ID, binary)
	}
	if err != nil {
		return fmt.Errorf("starting the services of %s: %w", n.ID, err)
	}
	image, err := imageTag()
	if err != nil {
		return err
	}
	mirror := d.mirrorDir
	if mirror == "" {
		mirror = box.Labels[mirrorLabel]
	}
	trusted, err := authority.Open()
	if err != nil {
		return fmt.Errorf("starting the services of %s: %w", n.ID, err)
	}
	config, host := d.servicesRecipe(n, image, binary, mirror, trusted.Dir())
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, image, config.Cmd, host.Binds, trusted.PEM(), len(program)) // writing to a hash never fails
	_, _ = sum.Write(program)
	recipeHash := hex.EncodeToString(sum.Sum(nil))
	if box.ID != "" && box.Labels[recipeLabel] != recipeHash {
		if err := d.remove(ctx, box); err != nil {
			return err
		}
		box = container.Summary{}
	}
	if box.State == container.StateRunning {
		return nil
	}
	if box.ID == "" {
		config.Labels = map[string]string{Label: d.stateDir, idLabel: n.ID, nameLabel: "services", recipeLabel: recipeHash, mirrorLabel: mirror}
		created, err := d.docker.ContainerCreate(ctx, config, host, endpoint(n, n.resolver().String()), nil, dockerName(n.Name+"-services", n.ID))
		if err != nil {
			return fmt.Errorf("creating the services of %s: %w", n.ID, err)
		}
		box.ID = created.ID
	}
	if err := d.docker.ContainerStart(ctx, box.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("starting the services of %s: %w", n.ID, err)
	}
	return d.awaitServices(ctx, n, box.ID)
}

// servicesRecipe returns what the services container runs, and what it gets of this host. Of the state directory that is
// what the services use, and not the keys, secrets and kubeconfigs of the stacks: pods send requests to the services.
func (d *Driver) servicesRecipe(n network, image, binary, mirror, authority string) (*container.Config, *container.HostConfig) {
	args := []string{"/usr/local/sbin/vpc", "--state", "/state", "--vpc", n.ID, "--authority", "/authority"}
	binds := []string{binary + ":/usr/local/sbin/vpc:ro", authority + ":/authority:ro"}
	for name, mode := range map[string]string{
		aws.StateFile:       "rw", // the account, which pods change through AWS's API
		directory:           "rw", // the machines' firewalls, which change when a load balancer is created or deleted
		lockFile:            "rw",
		gitserver.Directory: "ro",
	} {
		binds = append(binds, fmt.Sprintf("%s:/state/%s:%s", filepath.Join(d.stateDir, name), name, mode))
	}
	if mirror != "" {
		args = append(args, "--internet", setup.MirrorAddress, "--mirror", "/mirror")
		binds = append(binds, mirror+":/mirror:ro")
	}
	slices.Sort(binds)
	return &container.Config{Image: image, Cmd: args, StopSignal: "SIGTERM"},
		// It adds the addresses that it serves on to its interface, and sets the hop limit of the metadata service's
		// answers.
		&container.HostConfig{CapAdd: []string{"NET_ADMIN"}, Binds: binds}
}

// awaitServices waits until the services accept connections.
func (d *Driver) awaitServices(ctx context.Context, n network, box string) error {
	ctx, cancel := context.WithTimeout(ctx, servicesLimit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(n.resolver().String(), "53"))
		if err == nil {
			return conn.Close()
		}
		info, inspectErr := d.docker.ContainerInspect(ctx, box)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for the services of %s: %w%s", n.ID, err, d.console(box, false))
		case inspectErr != nil:
			return fmt.Errorf("waiting for the services of %s: %w", n.ID, inspectErr)
		case !info.State.Running:
			return fmt.Errorf("starting the services of %s: they exited with code %d%s", n.ID, info.State.ExitCode, d.console(box, false))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
