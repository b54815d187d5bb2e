package mirror

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"eco2/rehearsal/internal/progress"
)

// repository is a signed apt repository.
type repository struct {
	// root is its HOST/PATH, and key the path of its public key below root.
	root, key string
	// suite is empty for a flat repository, which has no components either.
	suite, component string
	// pool is the directory of its packages, below root.
	pool string
}

// addRepositories makes the repositories that prepare.sh uses, unless the mirror has them already: one for each minor
// version of Kubernetes, and one for containerd. It returns the fingerprints of their keys, by the name of the
// repository in the program's mirror.keys.
func (m Mirror) addRepositories(ctx context.Context, all []sources) (keys map[string]string, err error) {
	kubernetesKey, err := m.addKubernetesRepositories(ctx, all)
	if err != nil {
		return nil, err
	}
	docker := repository{
		root: "download.docker.com/linux/debian", key: "gpg", suite: suite, component: "stable",
		pool: "dists/" + suite + "/pool/stable/" + runtime.GOARCH,
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	err = m.addRepository(ctx, all[0].out, docker, key, func(dir string) (packages []debPackage, err error) {
		runc, err := all[0].debian.runc(ctx, dir)
		for _, s := range all {
			packages = append(packages, containerdPackage(s, runc))
		}
		return packages, err
	})
	if err != nil {
		return nil, err
	}
	dockerKey, err := m.fingerprint(docker.root + "/" + docker.key)
	return map[string]string{"kubernetes": kubernetesKey, "docker": dockerKey}, err
}

// addKubernetesRepositories makes the repositories of Kubernetes, and returns the fingerprint of their key. As upstream,
// it signs those of all minor versions with one key. If one of them is missing, all are made again, because the private
// part of the key was not kept.
func (m Mirror) addKubernetesRepositories(ctx context.Context, all []sources) (fingerprint string, err error) {
	packages := map[repository][]debPackage{}
	missing := false
	for _, s := range all {
		r := kubernetesRepository(s)
		packages[r] = append(packages[r], kubernetesPackages(s)...)
		missing = missing || !exists(m.layout().File(r.root))
	}
	key, err := newKey()
	if err != nil {
		return "", err
	}
	for r := range packages {
		if missing {
			if err := os.RemoveAll(m.layout().File(r.root)); err != nil {
				return "", fmt.Errorf("making the repository %s: %w", r.root, err)
			}
		}
	}
	for r, contents := range packages {
		if err := m.addRepository(ctx, all[0].out, r, key, func(string) ([]debPackage, error) { return contents, nil }); err != nil {
			return "", err
		}
	}
	r := kubernetesRepository(all[0])
	return m.fingerprint(r.root + "/" + r.key)
}

// kubernetesRepository returns the repository of the minor version of Kubernetes.
func kubernetesRepository(s sources) repository {
	minor := s.version("kubernetes")
	minor = minor[:strings.LastIndexByte(minor, '.')]
	return repository{root: "pkgs.k8s.io/core:/stable:/v" + minor + "/deb", key: "Release.key", pool: runtime.GOARCH}
}

// fingerprint returns the fingerprint of the public key that the mirror serves as https://HOST/PATH.
func (m Mirror) fingerprint(url string) (string, error) {
	file, err := os.Open(m.layout().File(url))
	if err != nil {
		return "", fmt.Errorf("reading a repository's key: %w", err)
	}
	defer func() { _ = file.Close() }() // it was read
	keys, err := openpgp.ReadArmoredKeyRing(file)
	if err != nil {
		return "", fmt.Errorf("reading the repository's key %s: %w", file.Name(), err)
	}
	return fmt.Sprintf("%X", keys[0].PrimaryKey.Fingerprint), nil
}

// addRepository makes a repository of the packages, signed with the key, unless the mirror has it already. The function
// packages gets a scratch directory for files that they need. It may return the same package several times. The
// repository gets its final name only when it is complete.
func (m Mirror) addRepository(ctx context.Context, out io.Writer, r repository, key *openpgp.Entity, packages func(dir string) ([]debPackage, error)) (err error) {
	target := m.layout().File(r.root)
	if exists(target) {
		return nil
	}
	dir := target + ".new"
	// The remains of a killed run.
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("making the repository %s: %w", r.root, err)
	}
	scratch := filepath.Join(dir, "scratch")
	pool := filepath.Join(dir, r.pool)
	for _, d := range []string{scratch, pool} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making the repository %s: %w", r.root, err)
		}
	}
	contents, err := packages(scratch)
	if err != nil {
		return fmt.Errorf("making the repository %s: %w", r.root, err)
	}
	var index strings.Builder
	added := map[string]bool{}
	for _, p := range contents {
		if added[p.filename()] {
			continue
		}
		added[p.filename()] = true
		step := progress.Start(out, "making the package "+p.name+" "+p.version)
		file, err := p.build(ctx, pool)
		step.End(err)
		if err != nil {
			return err
		}
		if err := appendIndex(&index, p, path.Join(r.pool, p.filename()), file); err != nil {
			return fmt.Errorf("making the repository %s: %w", r.root, err)
		}
	}
	if err := r.publish(dir, index.String(), key); err != nil {
		return fmt.Errorf("making the repository %s: %w", r.root, err)
	}
	if err := errors.Join(os.RemoveAll(scratch), os.Rename(dir, target)); err != nil {
		return fmt.Errorf("making the repository %s: %w", r.root, err)
	}
	return nil
}

// appendIndex appends a package's entry to the index. name is the archive's path below the root, as apt requests it.
func appendIndex(index io.Writer, p debPackage, name, file string) error {
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }() // it was read
	sum := sha256.New()
	size, err := io.Copy(sum, archive)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", p.control(), name, size, sum.Sum(nil))
	return err
}

// newKey returns a new key, whose private part is not kept. A repository that is made again has another key; clients
// always fetch the key together with the repository, and a stack's settings have its fingerprint.
func newKey() (*openpgp.Entity, error) {
	now := time.Now()
	key, err := openpgp.NewEntity("the rehearsal of eco2", "", "", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512, Time: func() time.Time { return now },
	})
	if err != nil {
		return nil, fmt.Errorf("making a key for a repository: %w", err)
	}
	return key, nil
}

// publish writes the index and signs it with the key.
func (r repository) publish(dir, index string, key *openpgp.Entity) error {
	lists, packages := "", "Packages"
	if r.suite != "" {
		lists, packages = path.Join("dists", r.suite), path.Join(r.component, "binary-"+runtime.GOARCH, packages)
	}
	if err := place(filepath.Join(dir, lists, packages), []byte(index), 0o644); err != nil {
		return err
	}
	public, err := armored(key)
	if err != nil {
		return fmt.Errorf("writing the public key: %w", err)
	}
	if err := place(filepath.Join(dir, r.key), public, 0o644); err != nil {
		return err
	}
	signed, err := sign(key, r.release(time.Now().UTC(), packages, index))
	if err != nil {
		return fmt.Errorf("signing the repository: %w", err)
	}
	return place(filepath.Join(dir, lists, "InRelease"), signed, 0o644)
}

// release returns the contents of the Release file, which lists the repository's index with its checksum.
func (r repository) release(now time.Time, packages, index string) string {
	fields := []string{"Origin: eco2", "Architectures: " + runtime.GOARCH, "Date: " + now.Format(time.RFC1123)}
	if r.suite != "" {
		fields = append(fields, "Suite: "+r.suite, "Codename: "+r.suite, "Components: "+r.component)
	}
	return fmt.Sprintf("%s\nSHA256:\n %x %d %s\n", strings.Join(fields, "\n"), sha256.Sum256([]byte(index)), len(index), packages)
}

func armored(key *openpgp.Entity) ([]byte, error) {
	var buffer bytes.Buffer
	w, err := armor.Encode(&buffer, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(key.Serialize(w), w.Close()); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func sign(key *openpgp.Entity, text string) ([]byte, error) {
	var buffer bytes.Buffer
	w, err := clearsign.Encode(&buffer, key.PrivateKey, &packet.Config{DefaultHash: crypto.SHA512})
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
