package mirror

import (
	"fmt"
	"path/filepath"
)

// ControlPlane are the binaries of a control plane, as they are in the machines' images. They run on this host too.
type ControlPlane struct{ Etcd, APIServer, ControllerManager string }

// FindControlPlane finds what Prepare has built. repo is the project's checkout.
func FindControlPlane(repo string) (ControlPlane, error) {
	cache, err := cacheDir()
	if err != nil {
		return ControlPlane{}, err
	}
	modules := filepath.Join(repo, "rehearsal", "mirror", "build")
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
