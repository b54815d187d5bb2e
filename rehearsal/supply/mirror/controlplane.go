package mirror

import (
	"fmt"
	"path/filepath"
)

// ControlPlane holds the paths of a control plane's binaries. They are the same as in the machines' images, and run on
// this host too.
type ControlPlane struct{ Etcd, APIServer, ControllerManager string }

// FindControlPlane returns the control plane that Prepare has built. It fails if a binary is missing. repo is the
// checkout of the whole repository.
func FindControlPlane(repo string) (ControlPlane, error) {
	cache, err := cacheDir()
	if err != nil {
		return ControlPlane{}, err
	}
	modules := filepath.Join(repo, "rehearsal", "supply", "mirror", "build")
	find := func(p project, name string) string {
		version, versionErr := p.version(modules)
		path := filepath.Join(cache, p.name+"-"+version, name)
		switch {
		case err != nil:
		case versionErr != nil:
			err = versionErr
		case !exists(path):
			err = fmt.Errorf("%s %s is not built yet; `make test` builds it", name, version)
		}
		return path
	}
	found := ControlPlane{
		Etcd: find(etcd, "etcd"), APIServer: find(kubernetes, "kube-apiserver"), ControllerManager: find(kubernetes, "kube-controller-manager"),
	}
	return found, err
}
