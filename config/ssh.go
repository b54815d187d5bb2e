package config

import (
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ssh reads the machines' user and key. The public half is derived, so the two cannot disagree.
func (l *loader) ssh() SSH {
	name := "sshPrivateKey"
	out := SSH{User: l.text("sshUser"), PrivateKey: secret(l.text(name) + "\n")}
	text := l.text(name)
	if text == "" {
		l.problem(name, "is missing; make a key with `ssh-keygen -t ed25519 -N '' -f eco2.key` and set it with: "+
			"pulumi config set --secret %s < eco2.key", l.key(name))
		return out
	}
	if !l.ctx.IsConfigSecret(l.key(name)) {
		l.problem(name, "is in plain text; set it with: pulumi config set --secret %s < eco2.key", l.key(name))
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &encrypted):
		l.problem(name, "is protected by a passphrase, which nobody could type during an update; remove it with: ssh-keygen -p -N ''")
		return out
	case err != nil:
		// The parser's own error is left out: it could quote the key.
		l.problem(name, "is not a private key in OpenSSH or PEM form")
		return out
	}
	switch signer.PublicKey().Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoRSA:
	default:
		l.problem(name, "is a key of type %s; EC2 key pairs take ssh-ed25519 and ssh-rsa", signer.PublicKey().Type())
	}
	out.PublicKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return out
}
