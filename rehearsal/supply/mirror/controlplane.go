package mirror

import "errors"

// ControlPlane holds the paths of a control plane's binaries. They are the same as in the machines' images, and run on
// this host too.
type ControlPlane struct{ Etcd, APIServer, ControllerManager string }

// FindControlPlane returns the control plane that Create has built. It fails if a binary is missing. repo is the
// checkout of the whole repository.
func FindControlPlane(repo string) (ControlPlane, error) {
	etcd, etcdErr := Find(repo, "etcd")
	kubernetes, err := Find(repo, "kubernetes")
	return ControlPlane{
		Etcd: etcd.Binary("etcd"), APIServer: kubernetes.Binary("kube-apiserver"), ControllerManager: kubernetes.Binary("kube-controller-manager"),
	}, errors.Join(etcdErr, err)
}
