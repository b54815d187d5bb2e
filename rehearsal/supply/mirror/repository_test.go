package mirror

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/mirror/server"
)

var (
	flat   = repository{root: "pkgs.example/core:/stable:/v1/deb", key: "Release.key", pool: runtime.GOARCH}
	suited = repository{
		root: "packages.example/linux/debian", key: "gpg", suite: "bookworm", component: "stable",
		pool: "dists/bookworm/pool/stable/" + runtime.GOARCH,
	}
)

// agent returns a small package that has every field set.
func agent(t *testing.T) debPackage {
	return debPackage{
		name: "agent", version: "1.2.3-1.1", summary: "an agent", relations: []string{"Depends: mount"},
		binaries: map[string]string{"/usr/bin/agent": program(t, "#!/bin/true\n")},
		settings: map[string]string{"/etc/agent.toml": "containerd.toml"}, postinst: "true",
	}
}

func testKey(t *testing.T) *openpgp.Entity {
	key, err := newKey()
	require.NoError(t, err)
	return key
}

func needs(t *testing.T, commands ...string) {
	for _, command := range commands {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("needs %s, which Debian has", command)
		}
	}
}

func TestReleaseIsSignedByThePublishedKey(t *testing.T) {
	for release, r := range map[string]repository{"InRelease": flat, "dists/bookworm/InRelease": suited} {
		dir := t.TempDir()
		index := "Package: agent\n\n"
		require.NoError(t, r.publish(dir, index, testKey(t)))

		key, err := os.Open(filepath.Join(dir, r.key))
		require.NoError(t, err)
		keyring, err := openpgp.ReadArmoredKeyRing(key)
		require.NoError(t, err)
		require.NoError(t, key.Close())
		assert.Nil(t, keyring[0].PrivateKey, "the private key is not published")

		signed, err := os.ReadFile(filepath.Join(dir, release))
		require.NoError(t, err)
		block, rest := clearsign.Decode(signed)
		require.NotNil(t, block)
		assert.Empty(t, bytes.TrimSpace(rest))
		signer, err := block.VerifySignature(keyring, nil)
		require.NoError(t, err)
		assert.Equal(t, keyring[0].PrimaryKey.KeyId, signer.PrimaryKey.KeyId)
		assert.Contains(t, string(block.Plaintext), fmt.Sprintf(" %x %d ", sha256.Sum256([]byte(index)), len(index)))
	}
}

func TestIndexDescribesTheArchive(t *testing.T) {
	needs(t, "dpkg-deb")
	p := agent(t)
	file, err := p.build(t.Context(), t.TempDir())
	require.NoError(t, err)
	data, err := os.ReadFile(file)
	require.NoError(t, err)

	var index bytes.Buffer
	require.NoError(t, appendIndex(&index, p, "pool/agent.deb", file))
	assert.Equal(t, fmt.Sprintf(`Package: agent
Version: 1.2.3-1.1
Architecture: %s
Maintainer: the rehearsal of eco2 <nobody@localhost>
Priority: optional
Section: net
Depends: mount
Description: an agent
Filename: pool/agent.deb
Size: %d
SHA256: %x

`, runtime.GOARCH, len(data), sha256.Sum256(data)), index.String())

	contents, err := exec.Command("dpkg-deb", "--contents", file).Output()
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^-rwx.* root/root .* \./usr/bin/agent$`, string(contents))
	conffiles, err := exec.Command("dpkg-deb", "--info", file, "conffiles").Output()
	require.NoError(t, err)
	assert.Equal(t, "/etc/agent.toml\n", string(conffiles))
}

// The host's own apt reads the repositories, with separate state directories.
func TestAptReadsTheRepositories(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "gpgv")
	m := Mirror{Dir: t.TempDir()}
	s := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(s.Close)
	for suite, r := range map[string]repository{"/": flat, "bookworm stable": suited} {
		err := m.addRepository(t.Context(), io.Discard, r, testKey(t), func(string) ([]debPackage, error) {
			return []debPackage{agent(t)}, nil
		})
		require.NoError(t, err)
		key := m.layout().File(r.root + "/" + r.key)
		pinned, err := m.fingerprint(r.root + "/" + r.key)
		require.NoError(t, err)
		apt := newApt(t, fmt.Sprintf("deb [signed-by=%s.asc,%s] %s/files/%s %s\n", key, pinned, s.URL, r.root, suite))
		require.NoError(t, os.Link(key, key+".asc")) // apt recognizes an armored key by this name, which prepare.sh uses too

		apt.run(t, "update")
		apt.run(t, "download", "agent=1.2.3-1.1")
		assert.FileExists(t, filepath.Join(string(apt), "agent_1.2.3-1.1_"+runtime.GOARCH+".deb"))
	}
}

// A file of keys may have others than the pinned one, such as one that somebody in between has added. prepare.sh has apt
// accept signatures of the pinned key only.
func TestAptAcceptsThePinnedKeyOnly(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "gpgv")
	m := Mirror{Dir: t.TempDir()}
	s := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(s.Close)
	publish := func() (key *openpgp.Entity, fingerprint string) {
		require.NoError(t, os.RemoveAll(m.layout().File(flat.root)))
		require.NoError(t, m.addRepository(t.Context(), io.Discard, flat, testKey(t), func(string) ([]debPackage, error) {
			return []debPackage{agent(t)}, nil
		}))
		file, err := os.Open(m.layout().File(flat.root + "/" + flat.key))
		require.NoError(t, err)
		keys, err := openpgp.ReadArmoredKeyRing(file)
		require.NoError(t, errors.Join(err, file.Close()))
		fingerprint, err = m.fingerprint(flat.root + "/" + flat.key)
		require.NoError(t, err)
		return keys[0], fingerprint
	}
	pinnedKey, pinned := publish()
	otherKey, _ := publish()
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	require.NoError(t, err)
	require.NoError(t, errors.Join(pinnedKey.Serialize(w), otherKey.Serialize(w), w.Close()))
	both := filepath.Join(t.TempDir(), "both.asc")
	require.NoError(t, os.WriteFile(both, text.Bytes(), 0o600))

	source := fmt.Sprintf("deb [signed-by=%s%%s] %s/files/%s /\n", both, s.URL, flat.root)
	newApt(t, fmt.Sprintf(source, "")).run(t, "update")
	output, err := newApt(t, fmt.Sprintf(source, ","+pinned)).try(t, "update")
	require.Error(t, err, "a signature of a key that is not pinned")
	assert.Regexp(t, `GPG error: \S+/pkgs.example/core:/stable:/v1/deb .*GOODSIG [0-9A-F]{16}`, output, "prepare.sh looks for this line")
}

// These are prepare.sh's patterns: they match any revision, apt takes the newest, and containerd's must be for the
// machine's own Debian release.
func TestAptTakesTheNewestRevision(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "gpgv")
	m := Mirror{Dir: t.TempDir()}
	s := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(s.Close)
	require.NoError(t, m.addRepository(t.Context(), io.Discard, flat, testKey(t), func(string) (all []debPackage, err error) {
		for _, version := range []string{
			"1.2.3-9.1", "1.2.3-10.1", "1.2.3-1.1", "1.2.30-11.1", "1.2.4-2.1",
			"2.3.4-1~debian.12~bookworm", "2.3.4-2~debian.12~bookworm", "2.3.4-3~debian.13~trixie", "2.3.40-4~debian.12~bookworm",
		} {
			p := agent(t)
			p.version = version
			all = append(all, p)
		}
		return all, nil
	}))
	key := m.layout().File(flat.root + "/" + flat.key)
	require.NoError(t, os.Link(key, key+".asc"))
	apt := newApt(t, fmt.Sprintf("deb [signed-by=%s.asc] %s/files/%s /\n", key, s.URL, flat.root))
	apt.run(t, "update")
	for pattern, version := range map[string]string{
		"1.2.3-*": "1.2.3-10.1", "1.2.4-*": "1.2.4-2.1", "2.3.4-*~debian.12~bookworm": "2.3.4-2~debian.12~bookworm",
	} {
		apt.run(t, "download", "agent="+pattern)
		file := "agent_" + version + "_" + runtime.GOARCH + ".deb"
		assert.FileExists(t, filepath.Join(string(apt), file), pattern)
		require.NoError(t, os.Remove(filepath.Join(string(apt), file)))
	}
	left, err := filepath.Glob(filepath.Join(string(apt), "*.deb"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// apt is a state directory in which the host's apt has one source only.
type apt string

func newApt(t *testing.T, source string) apt {
	dir := t.TempDir()
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "status"), nil, 0o600))
	return apt(dir)
}

func (a apt) run(t *testing.T, args ...string) {
	output, err := a.try(t, args...)
	require.NoError(t, err, output)
}

func (a apt) try(t *testing.T, args ...string) (output string, err error) {
	dir := string(a)
	cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{
		"-o", "Dir::Etc::sourcelist=" + dir + "/sources.list", "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State::lists=" + dir + "/lists", "-o", "Dir::State::status=" + dir + "/status",
		"-o", "Dir::Cache=" + dir, "-o", "Acquire::http::Proxy=DIRECT", "-o", "APT::Sandbox::User=",
		"-o", "APT::Update::Error-Mode=any",
	}, args...)...)
	cmd.Dir = dir
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}

// The remains of a killed run are not taken for a repository.
func TestRepositoryAppearsOnlyWhenComplete(t *testing.T) {
	needs(t, "dpkg-deb")
	m := Mirror{Dir: t.TempDir()}
	half := m.layout().File(flat.root) + ".new"
	require.NoError(t, os.MkdirAll(filepath.Join(half, "rubbish"), 0o755))
	add := func(packages ...debPackage) error {
		return m.addRepository(t.Context(), io.Discard, flat, testKey(t), func(string) ([]debPackage, error) { return packages, nil })
	}
	broken := agent(t)
	broken.binaries = map[string]string{"/usr/bin/agent": "/nowhere"}
	require.ErrorContains(t, add(broken), "making the package agent")
	assert.NoDirExists(t, m.layout().File(flat.root))

	require.NoError(t, add(agent(t)))
	assert.NoDirExists(t, half)
	assert.NoDirExists(t, filepath.Join(m.layout().File(flat.root), "rubbish"))
	require.NoError(t, add(broken), "an existing repository is not made again")
}
