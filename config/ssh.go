package config

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ssh reads the machines' user and key. The public half is derived, so the two cannot disagree.
func (l *loader) ssh() SSH {
	name := "sshPrivateKey"
	out := SSH{User: l.text("sshUser"), PrivateKey: secret("")}
	text := l.text(name)
	if text == "" {
		l.problem(name, "is missing; make a key with `ssh-keygen -t ed25519 -N '' -f eco2.key` and set it with: "+
			"pulumi config set --secret %s < eco2.key", l.key(name))
		return out
	}
	if !l.ctx.IsConfigSecret(l.key(name)) {
		l.problem(name, "is in plain text; set it with: pulumi config set --secret %s < eco2.key", l.key(name))
	}
	private, public, problem := parseKey(text)
	if problem != "" {
		l.problem(name, "%s", problem)
		return out
	}
	out.PrivateKey, out.PublicKey = secret(private), public
	return out
}

// parseKey returns a private key as OpenSSH reads it, with its public half in authorized_keys form, or what is
// wrong with it.
func parseKey(text string) (private, public, problem string) {
	text = unindent(text)
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &encrypted):
		return "", "", "is protected by a passphrase, which nobody could type during an update; remove it with: ssh-keygen -p -N ''"
	case err != nil:
		// The parser's own error is left out: it could quote the key.
		return "", "", "is not a private key in OpenSSH or PEM form; set the whole file that ssh-keygen wrote, from its BEGIN line to its END line"
	}
	switch algorithm := signer.PublicKey().Type(); algorithm {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoRSA:
	default:
		return "", "", fmt.Sprintf("is a key of type %s; EC2 key pairs take ssh-ed25519 and ssh-rsa", algorithm)
	}
	private, err = forOpenSSH(text)
	if err != nil {
		return "", "", "cannot be written in OpenSSH's form; make another with `ssh-keygen -t ed25519 -N '' -f eco2.key`"
	}
	return private, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), ""
}

// unindent removes what an editor, a YAML file or Windows puts around the lines of a key.
func unindent(text string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimSpace(text)), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

// plainPEM is a PEM block alone, as ssh-keygen and openssl write it.
var plainPEM = regexp.MustCompile(`^-----BEGIN [A-Z ]+-----\n([A-Za-z0-9+/=]+\n)+-----END [A-Z ]+-----$`)

// forOpenSSH writes a key that Go can parse in a form that ssh-add also takes: ssh-add is stricter about white
// space and text around the key, and does not read ed25519 keys in PKCS#8. The same key always gives the same
// text, and a key that needs no change stays as it is: a difference would update every command of a stack.
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

// opensshEd25519 writes a key in OpenSSH's own form.
func opensshEd25519(key ed25519.PrivateKey) (string, error) {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", fmt.Errorf("writing the key: %w", err)
	}
	// The form has a random number, twice, to tell a wrong passphrase. Without a passphrase it may be any number,
	// and a fixed one makes the text the same in every run. It comes after the public part, whose size is fixed
	// for ed25519.
	const check = len("openssh-key-v1\x00") +
		2*(4+len("none")) + // cipher and key derivation
		4 + 4 + // no options, one key
		4 + (4 + len(ssh.KeyAlgoED25519) + 4 + ed25519.PublicKeySize) +
		4 // the length of the private part
	clear(block.Bytes[check : check+8])
	return string(pem.EncodeToMemory(block)), nil
}
