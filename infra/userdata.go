package infra

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// userData returns the cloud-init configuration of a new machine, encoded as EC2 expects it. It sets the host name and
// the SSH host key, and disables SSH passwords. Everything else is done over SSH, where it can be observed, repeated and
// changed without a new machine.
//
// The result is a secret, because whoever has the host key can impersonate the machine. It is passed as userDataBase64,
// because of userData the provider stores only a hash, from which publicHostKey could not read the key.
func userData(name string, key config.HostKey) pulumi.StringOutput {
	return key.Private.ApplyT(func(private string) string {
		// cloud-init creates no other host keys if it is given one.
		text := fmt.Sprintf(`#cloud-config
hostname: %s
manage_etc_hosts: true
ssh_pwauth: false
ssh_keys:
  ed25519_public: %s
  ed25519_private: |
    %s
`, name, key.Public, strings.ReplaceAll(strings.TrimSpace(private), "\n", "\n    "))
		return base64.StdEncoding.EncodeToString([]byte(text))
	}).(pulumi.StringOutput)
}

// hostKeyLine matches the public host key in the result of userData.
var hostKeyLine = regexp.MustCompile(`(?m)^  ed25519_public: (.+)$`)

// publicHostKey returns the public host key in a machine's user data. It is empty if the user data contains none.
func publicHostKey(encoded string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("decoding the user data of a machine: %w", err)
	}
	if found := hostKeyLine.FindSubmatch(text); found != nil {
		return string(found[1]), nil
	}
	return "", nil
}
