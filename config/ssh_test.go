package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// asPEM encodes a key as PEM. It takes the error of the encoding before, and fails on it.
func asPEM(t *testing.T, kind string, bytes []byte, err error) string {
	t.Helper()
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
}

// edKey is the same in every run.
var edKey = ed25519.NewKeyFromSeed([]byte("thirty-two bytes of a test's key"))

// keys returns one key of each type and format that the program accepts, encoded as ssh-keygen or openssl would.
func keys(t *testing.T) map[string]string {
	t.Helper()
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	openssh := func(key crypto.PrivateKey) string {
		block, err := ssh.MarshalPrivateKey(key, "somebody")
		require.NoError(t, err)
		// ssh-keygen writes longer lines than Go.
		text := strings.ReplaceAll(string(pem.EncodeToMemory(block)), "\n", "")
		text, begin := strings.CutPrefix(text, "-----BEGIN OPENSSH PRIVATE KEY-----")
		text, end := strings.CutSuffix(text, "-----END OPENSSH PRIVATE KEY-----")
		require.True(t, begin && end)
		lines := []string{"-----BEGIN OPENSSH PRIVATE KEY-----"}
		for ; len(text) > 70; text = text[70:] {
			lines = append(lines, text[:70])
		}
		return strings.Join(append(lines, text, "-----END OPENSSH PRIVATE KEY-----", ""), "\n")
	}
	edPKCS8, edErr := x509.MarshalPKCS8PrivateKey(edKey)
	rsaPKCS8, rsaErr := x509.MarshalPKCS8PrivateKey(big)
	return map[string]string{
		"ed25519, OpenSSH": openssh(edKey),
		"ed25519, PKCS#8":  asPEM(t, "PRIVATE KEY", edPKCS8, edErr),
		"RSA, OpenSSH":     openssh(big),
		"RSA, PKCS#1":      asPEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big), nil),
		"RSA, PKCS#8":      asPEM(t, "PRIVATE KEY", rsaPKCS8, rsaErr),
	}
}

// lockedKey returns a private key with a passphrase.
func lockedKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte("open sesame"))
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// ecdsaKey returns a private key of a type that EC2 cannot import.
func ecdsaKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "test")
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// eachLine returns a function that changes each line of a text.
func eachLine(change func(string) string) func(string) string {
	return func(text string) string {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i, line := range lines {
			lines[i] = change(line)
		}
		return strings.Join(lines, "\n") + "\n"
	}
}

// pasted maps names to the ways in which editors, shells, YAML and Windows alter a key.
var pasted = map[string]func(string) string{
	"unchanged":             func(text string) string { return text },
	"CRLF":                  eachLine(func(line string) string { return line + "\r" }),
	"CR":                    func(text string) string { return strings.ReplaceAll(text, "\n", "\r") },
	"no newline at the end": func(text string) string { return strings.TrimSuffix(text, "\n") },
	"empty lines in front":  func(text string) string { return "\n\n" + text },
	"empty lines behind":    func(text string) string { return text + "\n\n" },
	"empty lines between":   func(text string) string { return strings.ReplaceAll(text, "\n", "\n\n") },
	"spaces behind":         eachLine(func(line string) string { return line + "  " }),
	"indented":              eachLine(func(line string) string { return "    " + line }),
	"tabs":                  eachLine(func(line string) string { return "\t" + line }),
	"text in front":         func(text string) string { return "the key of dev\n" + text },
	"text behind":           func(text string) string { return text + "the key of dev\n" },
	"a header":              func(text string) string { return strings.Replace(text, "-----\n", "-----\nComment: dev\n\n", 1) },
	"one long line": func(text string) string {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		last := len(lines) - 1
		return lines[0] + "\n" + strings.Join(lines[1:last], "") + "\n" + lines[last] + "\n"
	},
}

// OpenSSH must be able to read every key that the program accepts, because join.sh passes it to ssh-add.
func TestOpenSSHReadsEveryAcceptedKey(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed: keys are not tested with OpenSSH")
	}
	for kind, key := range keys(t) {
		for how, change := range pasted {
			t.Run(kind+", "+how, func(t *testing.T) {
				text := change(key)
				private, public, problem := parseKey(text)
				require.Empty(t, problem)
				file := filepath.Join(t.TempDir(), "key")
				require.NoError(t, os.WriteFile(file, []byte(private), 0o600))
				output, err := exec.CommandContext(t.Context(), keygen, "-y", "-P", "", "-f", file).CombinedOutput()
				require.NoError(t, err, string(output))
				read, _, _, _, err := ssh.ParseAuthorizedKey(output)
				require.NoError(t, err)
				assert.Equal(t, public, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(read))))
			})
		}
	}
}

// Every command of a stack contains the key and would change with it, so its conversion must be deterministic.
func TestKeyConversionIsDeterministic(t *testing.T) {
	for kind, key := range keys(t) {
		for how, change := range pasted {
			private, _, _ := parseKey(change(key))
			again, _, _ := parseKey(change(key))
			assert.Equal(t, private, again, "%s, %s", kind, how)
			rewritten, _, _ := parseKey(private)
			assert.Equal(t, private, rewritten, "%s, %s", kind, how)
		}
	}
}

// A key that OpenSSH reads must not be converted, or all commands of existing stacks would change.
func TestKeyThatOpenSSHReadsIsUnchanged(t *testing.T) {
	for kind, key := range keys(t) {
		if kind == "ed25519, PKCS#8" { // which OpenSSH does not read
			continue
		}
		private, _, problem := parseKey(strings.TrimSuffix(key, "\n")) // as `pulumi config set` stores it
		assert.Empty(t, problem)
		assert.Equal(t, key, private, kind)
	}
}

func TestInvalidKeys(t *testing.T) {
	const none = "is not a private key in OpenSSH or PEM form; set the whole file that ssh-keygen wrote, from its " +
		"BEGIN line to its END line"
	key := keys(t)["ed25519, OpenSSH"]
	for name, text := range map[string]string{
		"a public key":    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0j someone",
		"half a key":      key[:len(key)/2],
		"all in one line": strings.ReplaceAll(key, "\n", " "),
		"a file's name":   "eco2.key",
		"a PuTTY key":     "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
		"a changed key":   strings.Replace(key, "AAAA", "AAAB", 1),
		"without its END": strings.Split(key, "-----END")[0],
		"a certificate":   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		_, _, problem := parseKey(text)
		assert.Equal(t, none, problem, name)
	}
}
