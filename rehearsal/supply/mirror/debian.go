package mirror

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"eco2/rehearsal/internal/progress"
	"eco2/rehearsal/internal/setup"
)

// suite is the Debian release of the machines. Files from Debian's packages must be from the same release, because they
// are linked against its libraries.
const suite = "bookworm"

// debian is a directory of Debian's binary packages.
type debian struct {
	dir string
	out io.Writer
}

func newDebian(out io.Writer) (debian, error) {
	cache, err := setup.CacheDir()
	return debian{dir: filepath.Join(cache, "debian-"+suite), out: out}, err
}

// packages returns the files of the named packages. It downloads missing ones with the host's own apt.
func (d debian) packages(ctx context.Context, names ...string) ([]string, error) {
	var missing, files []string
	for _, name := range names {
		if _, err := d.file(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		step := progress.Start(d.out, fmt.Sprintf("downloading %d packages of Debian", len(missing)))
		err := d.download(ctx, missing)
		step.End(err)
		if err != nil {
			return nil, fmt.Errorf("downloading Debian's packages %s: %w", strings.Join(missing, ", "), err)
		}
	}
	for _, name := range names {
		file, err := d.file(name)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (d debian) file(name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(d.dir, name+"_*.deb"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("finding Debian's package %s: apt-get downloaded none", name)
	}
	return found[0], nil
}

func (d debian) download(ctx context.Context, names []string) (err error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return err
	}
	if !strings.Contains(string(release), "\nVERSION_CODENAME="+suite+"\n") {
		return fmt.Errorf("this host does not run Debian %s, whose packages the machines need; run the rehearsal on such a host", suite)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	// A directory of its own, because another process may be downloading too: the cache is the user's.
	incoming, err := os.MkdirTemp(d.dir, "incoming-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(incoming)) }()
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download"}, names...)...)
	cmd.Dir = incoming
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w; without package lists, run apt-get update first\n%s", err, output)
	}
	files, err := filepath.Glob(filepath.Join(incoming, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Rename(file, filepath.Join(d.dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}

// files calls take for each file and link of a binary package, except documentation.
func (d debian) files(ctx context.Context, file string, take func(*tar.Header, io.Reader) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
	}
	err = eachFile(tar.NewReader(stdout), take)
	// Read the padding behind the archive's end too, or dpkg-deb blocks on writing it.
	_, drained := io.Copy(io.Discard, stdout)
	if err := errors.Join(err, drained, cmd.Wait()); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
	}
	return nil
}

func eachFile(archive *tar.Reader, take func(*tar.Header, io.Reader) error) error {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		header.Name = path.Clean("/" + header.Name)
		if header.Typeflag == tar.TypeLink {
			header.Linkname = path.Clean("/" + header.Linkname)
		}
		if header.Typeflag == tar.TypeDir || documentation(header.Name) {
			continue
		}
		if err := take(header, archive); err != nil {
			return err
		}
	}
}

func documentation(name string) bool {
	for _, dir := range []string{"doc", "lintian", "locale", "man"} {
		if strings.HasPrefix(name, "/usr/share/"+dir+"/") {
			return true
		}
	}
	return false
}
