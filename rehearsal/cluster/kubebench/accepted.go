package kubebench

// acceptedFailure is an automated check that this cluster fails on purpose.
type acceptedFailure struct {
	id   string
	role Role
	// reason is a sentence for the reader of the result.
	reason string
	// only restricts what is accepted, if the check is about many objects: a line about an object that does not comply
	// must contain one of these texts.
	only []string
}

// acceptedFailures is the whole list. A check that is not in it has to pass. One that is in it has to fail, so that the
// list does not outlive its reasons.
var acceptedFailures = []acceptedFailure{
	{
		id: "1.1.12", role: ControlPlane,
		reason: "kubeadm runs etcd as root, in a static pod, and the machine has no user etcd. The directory is root's, " +
			"with mode 700.",
	},
	{
		id: "5.1.1", role: ControlPlane,
		reason: "kubeadm grants cluster-admin to the group of the certificate in admin.conf. Nothing else has this role.",
		only:   []string{"role_name: kubeadm:cluster-admins "},
	},
	{
		id: "5.1.3", role: ControlPlane,
		reason: "Kubernetes' own roles have wildcards, and so have those of Argo CD, which applies and shows any kind, and " +
			"of the operators, for the kinds that they own; the operator of Prometheus for Secrets, too.",
		only: []string{
			"clusterrole_name: cluster-admin ", "clusterrole_name: system:",
			"clusterrole_name: argocd-application-controller ", "clusterrole_name: argocd-server ",
			"clusterrole_name: kube-prometheus-stack-operator ", "clusterrole_name: rabbitmq-cluster-operator ",
			"clusterrole_name: redis-operator ",
		},
	},
	{
		id: "5.1.5", role: ControlPlane,
		reason: "The default service accounts of the workloads' namespaces mount no token. Those of the other namespaces " +
			"have no rights.",
		only: []string{
			"namespace: argocd,", "namespace: data-system,", "namespace: default,", "namespace: kube-node-lease,",
			"namespace: kube-public,", "namespace: kube-system,", "namespace: messaging-system,", "namespace: monitoring,",
			"namespace: platform-system,",
		},
	},
	{
		id: "5.1.6", role: ControlPlane,
		reason: "The platform's controllers call the API with the token that is mounted. The workloads' pods mount none.",
		only: []string{
			"namespace: argocd ", "namespace: data-system ", "namespace: kube-system ", "namespace: messaging-system ",
			"namespace: monitoring ", "namespace: platform-system ",
		},
	},
}
