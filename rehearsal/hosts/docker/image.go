package docker

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/progress"
	"eco2/rehearsal/internal/setup"
)

// The machine image has two layers: a base made by debootstrap, which takes a minute or two and needs the network, and
// the Dockerfile in image/ on top of it, which takes seconds and needs no network.

//go:embed image
var recipe embed.FS

// suite is the Debian release of the machines.
const suite = "bookworm"

// packages are what Debian's cloud image has and kubeadm, kubelet and containerd rely on. containerd and Kubernetes
// themselves are installed by the program.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "openssh-server", "openssh-client", "sudo", "procps", "less",
	"ca-certificates", "curl", "gpgv", "xz-utils",
	"iproute2", "iputils-ping", "iptables", "nftables", "netbase", "netcat-openbsd",
	"conntrack", "ebtables", "ethtool", "kmod", "libseccomp2", "socat",
	"git", // for the services, which run in the same image
}

// baseTag returns the tag of the base image, which contains a hash of what it is made from.
func baseTag() string {
	sum := sha256.Sum256([]byte(suite + "\n" + strings.Join(packages, "\n")))
	return "eco2-debian:" + hex.EncodeToString(sum[:])[:12]
}

// machineImage is the name of the machine image, without its tag.
const machineImage = "eco2-machine"

// imageTag returns the tag of the machine image, which contains a hash of the build context.
func imageTag() (string, error) {
	context, err := buildContext()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(context)
	return machineImage + ":" + hex.EncodeToString(sum[:])[:12], nil
}

// buildImage builds the machine image, unless Docker has one from the same recipe.
func buildImage(ctx context.Context, out io.Writer) error {
	docker, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	tag, err := imageTag()
	if err != nil {
		return err
	}
	if found, err := hasImage(ctx, docker, tag); err != nil || found {
		return err
	}
	if err := importBase(ctx, out, docker); err != nil {
		return fmt.Errorf("making the base image of the machines: %w", err)
	}
	if err := buildOnBase(ctx, out, docker, tag); err != nil {
		return fmt.Errorf("building the machine image: %w", err)
	}
	return removeOldImages(ctx, docker, tag)
}

// buildOnBase builds the Dockerfile in image/ on top of the base image.
func buildOnBase(ctx context.Context, out io.Writer, docker *client.Client, tag string) (err error) {
	step := progress.Start(out, "building the machines' image")
	defer func() { step.End(err) }()
	files, err := buildContext()
	if err != nil {
		return err
	}
	base := baseTag()
	answer, err := docker.ImageBuild(ctx, bytes.NewReader(files), build.ImageBuildOptions{
		Tags: []string{tag}, BuildArgs: map[string]*string{"BASE": &base}, Remove: true, ForceRemove: true, NetworkMode: "none",
	})
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was read to its end
	return readBuild(answer.Body, step)
}

// removeOldImages removes machine images of other recipes, unless a machine still uses them.
func removeOldImages(ctx context.Context, docker *client.Client, tag string) error {
	images, err := docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", machineImage))})
	if err != nil {
		return fmt.Errorf("listing machine images: %w", err)
	}
	for _, i := range images {
		if slices.Contains(i.RepoTags, tag) {
			continue
		}
		if _, err := docker.ImageRemove(ctx, i.ID, image.RemoveOptions{PruneChildren: true}); err != nil && !cerrdefs.IsConflict(err) && !isNotFound(err) {
			return fmt.Errorf("removing the old machine image %s: %w", i.ID, err)
		}
	}
	return nil
}

func hasImage(ctx context.Context, docker *client.Client, tag string) (bool, error) {
	_, err := docker.ImageInspect(ctx, tag)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the image %s: %w", tag, err)
	}
	return true, nil
}

// readBuild reads the progress of a build until it is finished, and copies its output to log. Docker reports a failed
// build within that stream.
func readBuild(stream io.Reader, log io.Writer) error {
	var output strings.Builder
	for decoder := json.NewDecoder(stream); ; {
		var line struct{ Stream, Error string }
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case line.Error != "":
			return fmt.Errorf("%s%s", line.Error, indented(output.String()))
		}
		output.WriteString(line.Stream)
		_, _ = io.WriteString(log, line.Stream) // lost progress is no failure
	}
}

// buildContext returns the directory image/ as a tar archive, which is byte for byte the same every time.
func buildContext() ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	err := fs.WalkDir(recipe, "image", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := recipe.ReadFile(path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: strings.TrimPrefix(path, "image/"), Mode: 0o644, Size: int64(len(data))}
		if bytes.HasPrefix(data, []byte("#!")) {
			header.Mode = 0o755 // embedded files have no executable bit
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("packing the machine image's recipe: %w", err)
	}
	return buffer.Bytes(), nil
}

// importBase imports the base image into Docker, from the user's cache or newly made.
func importBase(ctx context.Context, out io.Writer, docker *client.Client) (err error) {
	tag := baseTag()
	if found, err := hasImage(ctx, docker, tag); err != nil || found {
		return err
	}
	cache, err := setup.CacheDir()
	if err != nil {
		return err
	}
	cached := filepath.Join(cache, strings.ReplaceAll(tag, ":", "-")+".tar.gz")
	unlock, err := filelock.LockContext(ctx, cached+".lock", nil)
	if err != nil {
		return fmt.Errorf("locking the base image: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
		if err := debootstrap(ctx, out, cached); err != nil {
			return err
		}
	}
	file, err := os.Open(cached)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was read
	step := progress.Start(out, "importing the machines' base image into Docker")
	defer func() { step.End(err) }()
	answer, err := docker.ImageImport(ctx, image.ImportSource{Source: file, SourceName: "-"}, tag, image.ImportOptions{})
	if err != nil {
		return fmt.Errorf("loading %s: %w", cached, err)
	}
	defer func() { _ = answer.Close() }() // it was read to its end
	return readBuild(answer, step)
}

// debootstrap installs Debian into a directory and packs it into file, which appears only when it is complete.
func debootstrap(ctx context.Context, out io.Writer, file string) (err error) {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		if err := install(ctx, out, "debootstrap, which makes the machines' base image", "debootstrap"); err != nil {
			return err
		}
	}
	// debootstrap cannot resume, so the remains of a killed run are removed.
	root := file + ".new.d"
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	step := progress.Start(out, "making the machines' base image with debootstrap")
	defer func() { step.End(err) }()
	// In its own mount namespace, so that none of its mounts is left behind, however it exits.
	args := []string{"--mount", "debootstrap", "--variant=minbase", "--include=" + strings.Join(packages, ","), suite, root}
	if mirror := debianMirror(ctx); mirror != "" {
		args = append(args, mirror)
	}
	if err := logged(ctx, step, "unshare", args...); err != nil {
		return err
	}
	if err := trim(root); err != nil {
		return err
	}
	if err := pack(ctx, root, file+".new"); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// debianMirror returns the URL from which this host's apt gets the same Debian release. It is empty if there is none,
// and debootstrap uses its default then.
func debianMirror(ctx context.Context) string {
	output, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Codename: "+suite, "Component: main").Output()
	if err != nil {
		return "" // no apt, or no sources
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	return first
}

// trim removes documentation, translations, caches and logs, which are a third of the whole.
func trim(root string) error {
	for _, pattern := range []string{
		"usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/lintian",
		"var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*.log", "var/log/apt/*",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("trimming the machine image: %w", err)
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("trimming the machine image: %w", err)
			}
		}
	}
	return nil
}

// pack writes root as a compressed archive. It runs tar, because owners, links, devices and capabilities must be kept.
func pack(ctx context.Context, root, file string) (err error) {
	target, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("packing the machine image: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	compressed, err := gzip.NewWriterLevel(target, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("packing the machine image: %w", err)
	}
	cmd := exec.CommandContext(ctx, "tar", "--create", "--numeric-owner", "--xattrs", "--directory", root, ".")
	cmd.Stdout = compressed
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("packing the machine image: %w", err)
	}
	return compressed.Close()
}
