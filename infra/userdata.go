package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// userData returns the cloud-init configuration of a new machine. It sets the host name and the SSH host key, and
// disables SSH passwords. Everything else is done over SSH, where it can be observed, repeated and changed without a new
// machine. The result is a secret, because whoever has the host key can impersonate the machine.
func userData(name string, key config.HostKey) pulumi.StringOutput {
	return key.Private.ApplyT(func(private string) string {
		// cloud-init creates no other host keys if it is given one.
		return fmt.Sprintf(`#cloud-config
hostname: %s
manage_etc_hosts: true
ssh_pwauth: false
ssh_keys:
  ed25519_public: %s
  ed25519_private: |
    %s
`, name, key.Public, strings.ReplaceAll(strings.TrimSpace(private), "\n", "\n    "))
	}).(pulumi.StringOutput)
}
