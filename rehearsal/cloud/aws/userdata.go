package aws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// CloudConfig is the part of cloud-init's configuration that the rehearsal's machines apply at their first boot.
type CloudConfig struct {
	Hostname string `yaml:"hostname"`
	// SSHKeys are the only host keys of the machine. Without them it makes its own.
	SSHKeys struct {
		// Private is in a format that sshd reads, Public in that of authorized_keys.
		Private string `yaml:"ed25519_private"`
		Public  string `yaml:"ed25519_public"`
	} `yaml:"ssh_keys"`

	// Every machine of the rehearsal is as if these were true and false.
	ManageEtcHosts bool `yaml:"manage_etc_hosts"`
	PasswordLogin  bool `yaml:"ssh_pwauth"`
}

// CloudConfig returns the configuration in the instance's user data. It is empty for user data of another kind, such as
// a script. A setting that the rehearsal's machines would not apply is an error.
func (i Instance) CloudConfig() (config CloudConfig, err error) {
	if !strings.HasPrefix(i.UserData, "#cloud-config") {
		return config, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(i.UserData)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return config, fmt.Errorf("reading the cloud-config in the user data of %s: %w", i.ID, err)
	}
	return config, nil
}
