package config

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
)

// SSH holds the user and the key with which the program logs in to the machines.
type SSH struct {
	// User is the first user of the image. It defaults to ubuntu, that of Ubuntu's images.
	User string
	// PrivateKey is an ed25519 or RSA key without a passphrase, in a form that OpenSSH reads. It must be set.
	PrivateKey pulumi.StringOutput
	// PublicKey is derived from the private key, in the format of authorized_keys.
	PublicKey string
	// text is PrivateKey in plain text, from which the machines' host keys are derived.
	text string
}

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// checkUser reports a name that no Linux user can have.
func (r *report) checkUser(name string) {
	if !userName.MatchString(name) {
		r.problem("sshUser", "%q is not a user name; Ubuntu's images have ubuntu, Debian's have admin", name)
	}
}

// ssh reads the machines' user and private key. It derives the public key, so that the two always match.
func (r *reader) ssh() SSH {
	name := "sshPrivateKey"
	out := SSH{User: r.text("sshUser"), PrivateKey: secret("")}
	text := r.text(name)
	if text == "" {
		r.problem(name, "is missing; create a key with `ssh-keygen -t ed25519 -N '' -f eco2.key` and set it with: "+
			"pulumi config set --secret %s < eco2.key", r.key(name))
		return out
	}
	if !r.ctx.IsConfigSecret(r.key(name)) {
		r.problem(name, "is in plain text; set it with: pulumi config set --secret %s < eco2.key", r.key(name))
	}
	private, public, problem := parseKey(text)
	if problem != "" {
		r.problem(name, "%s", problem)
		return out
	}
	out.PrivateKey, out.PublicKey, out.text = secret(private), public, private
	return out
}

// parseKey returns a private key in a form that OpenSSH reads and its public key in the format of authorized_keys, or
// the problem with it.
func parseKey(text string) (private, public, problem string) {
	text = unindent(text)
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &encrypted):
		return "", "", "is protected by a passphrase, which nobody can type during an update; " +
			"remove it with: ssh-keygen -p -N ''"
	case err != nil:
		// The parser's error is omitted, because it could quote the key.
		return "", "", "is not a private key in OpenSSH or PEM form; set the whole file that ssh-keygen wrote, " +
			"from its BEGIN line to its END line"
	}
	switch algorithm := signer.PublicKey().Type(); algorithm {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoRSA:
	default:
		return "", "", fmt.Sprintf("is a key of type %s; EC2 key pairs support ssh-ed25519 and ssh-rsa", algorithm)
	}
	private, err = forOpenSSH(text)
	if err != nil {
		return "", "", "cannot be converted to OpenSSH's format; " +
			"create another with `ssh-keygen -t ed25519 -N '' -f eco2.key`"
	}
	return private, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), ""
}

// unindent removes the white space and carriage returns that editors, YAML files or Windows add to the lines of a key.
func unindent(text string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimSpace(text)), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

// plainPEM matches a single PEM block without any other text, as ssh-keygen and openssl write it.
var plainPEM = regexp.MustCompile(`^-----BEGIN [A-Z ]+-----\n([A-Za-z0-9+/=]+\n)+-----END [A-Z ]+-----$`)

// forOpenSSH converts a key that Go can parse to a form that ssh-add also reads: ssh-add is stricter about white space
// and text around the key, and does not read ed25519 keys in PKCS#8. The result is deterministic, and a key that needs
// no conversion is unchanged, because a difference would update every command of a stack.
func forOpenSSH(text string) (string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", errors.New("reading the key: there is no PEM block")
	}
	if block.Type == "PRIVATE KEY" { // PKCS#8
		key, err := ssh.ParseRawPrivateKey([]byte(text))
		if err != nil {
			return "", fmt.Errorf("reading the key: %w", err)
		}
		if key, ok := key.(ed25519.PrivateKey); ok {
			return opensshEd25519(key)
		}
	}
	if plainPEM.MatchString(text) {
		return text + "\n", nil
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})), nil
}

// opensshEd25519 encodes a key in OpenSSH's own format, always with the same result.
func opensshEd25519(key ed25519.PrivateKey) (string, error) {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", fmt.Errorf("writing the key: %w", err)
	}
	// The format contains a random number, twice, by which a reader detects a wrong passphrase. Without a passphrase it
	// may be any number, and a fixed one makes the result the same in every run. It follows the public part, whose size
	// is fixed for ed25519.
	const check = len("openssh-key-v1\x00") +
		2*(4+len("none")) + // cipher and key derivation
		4 + 4 + // no key derivation options, one key
		4 + (4 + len(ssh.KeyAlgoED25519) + 4 + ed25519.PublicKeySize) +
		4 // length of the private part
	clear(block.Bytes[check : check+8])
	return string(pem.EncodeToMemory(block)), nil
}
