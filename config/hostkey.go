package config

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
)

// HostKey is the SSH host key of a machine, by which those who connect recognise the machine.
type HostKey struct {
	// Private is in OpenSSH's format.
	Private pulumi.StringOutput
	// Public is in the format of authorized_keys.
	Public string
}

// HostKey returns the host key that the named machine of a cluster gets at its first boot. It is derived from the
// private key with which the program logs in, so it is known before the machine exists, is the same in every run, and
// can be derived only by those who may log in to every machine anyway.
func (s SSH) HostKey(cluster, node string) (HostKey, error) {
	material, err := keyMaterial(s.text)
	if err != nil {
		return HostKey{}, fmt.Errorf("deriving the host key of %s: %w", node, err)
	}
	// The last part separates these keys from everything else that is derived from the same key.
	seed, err := hkdf.Key(sha256.New, material, nil, "SSH host key of "+node+" in "+cluster, ed25519.SeedSize)
	if err != nil {
		return HostKey{}, fmt.Errorf("deriving the host key of %s: %w", node, err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	private, err := opensshEd25519(key)
	if err != nil {
		return HostKey{}, fmt.Errorf("encoding the host key of %s: %w", node, err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return HostKey{}, fmt.Errorf("encoding the host key of %s: %w", node, err)
	}
	return HostKey{Private: secret(private), Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}, nil
}

// keyMaterial returns the same bytes for a private key whatever its format, comment and line endings.
func keyMaterial(text string) ([]byte, error) {
	key, err := ssh.ParseRawPrivateKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("reading the SSH key: %w", err)
	}
	if pointer, ok := key.(*ed25519.PrivateKey); ok { // x509 takes only the value
		key = *pointer
	}
	return x509.MarshalPKCS8PrivateKey(key)
}
