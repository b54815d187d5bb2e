package mirror

import (
	"fmt"
	"regexp"

	"eco2/config"
)

// UpgradeFrom has the Kubernetes and containerd versions from which a test upgrades a cluster to the defaults. Modules
// of the checkout pin both, like the defaults.
var UpgradeFrom = config.Versions{Kubernetes: "1.36.4", Containerd: "2.3.4"}

var semver = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// UpgradeTo returns the default versions with another version of Kubernetes, to which a cluster is to be upgraded. It
// fails if the program does not support that version.
func UpgradeTo(kubernetes string) (config.Versions, error) {
	v := config.DefaultVersions
	v.Kubernetes = kubernetes
	switch {
	case !semver.MatchString(kubernetes):
		return v, fmt.Errorf("upgrading to Kubernetes %q: this is not a version such as %s", kubernetes, config.DefaultVersions.Kubernetes)
	case v.Pause() == "":
		return v, fmt.Errorf("upgrading to Kubernetes %s: the program does not support this minor version; add it to the map kubernetes in config/versions.go", kubernetes)
	}
	return v, nil
}
