package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/component"
)

// pinnedFile is a file at a fixed version.
type pinnedFile struct {
	url, sha256 string
}

// prometheusCRDs is the common part of the URLs at which the version of the operator that the chart contains publishes
// its CRDs, one per file.
const prometheusCRDs = "https://raw.githubusercontent.com/prometheus-operator/prometheus-operator/v0.93.1/example/prometheus-operator-crd/monitoring.coreos.com_"

// chartCRDs lists, by release, the custom resource definitions (CRDs) that match the versions of the charts.
// external-dns, metrics-server and the EBS CSI driver need none.
var chartCRDs = map[string][]pinnedFile{
	"aws-load-balancer-controller": {
		{"https://raw.githubusercontent.com/aws/eks-charts/v0.0.242/stable/aws-load-balancer-controller/crds/crds.yaml", "cb00e9a8ee22cc51307bbed799faff306ab4d23a9fd201d26fcd53ab035777d9"},
	},
	"external-secrets": {
		{"https://raw.githubusercontent.com/external-secrets/external-secrets/v2.9.0/deploy/crds/bundle.yaml", "08b08d88e9522436698d6c90510b530d491081fbf92015faa7a571bb8b50bc5b"},
	},
	"kube-prometheus-stack": {
		{prometheusCRDs + "alertmanagerconfigs.yaml", "405d1e8f8c7f99cc2d4bbbcf394f055823c1d8e2e7d9ae80904c1c104877a421"},
		{prometheusCRDs + "alertmanagers.yaml", "a2adf6c349e6b955bf87ed4f5c9be573f8fc2b3009e9447c8321249f33577b21"},
		{prometheusCRDs + "podmonitors.yaml", "eef45bb50df838a85226eb6b03c0c7094c54d605776bdf2ec149f17fba8a1df0"},
		{prometheusCRDs + "probes.yaml", "9e091f0f95a8ec4b4e7f69a60f5c189a0846db17f5d014e24ca7c39e04c30adb"},
		{prometheusCRDs + "prometheusagents.yaml", "4a85558bd15ed4df43732f15e1001e8cd1ecdc6306cac96f4a21a914ee355ec9"},
		{prometheusCRDs + "prometheuses.yaml", "e453c7f324077b3fcc3f82ca40b095f0f23cc07e6177b2e61b863f04011bed41"},
		{prometheusCRDs + "prometheusrules.yaml", "2d72928f7ceb99d153f2f91d2c2fd68d4b89c4914f2a09e15ac049b2f0316df3"},
		{prometheusCRDs + "scrapeconfigs.yaml", "3528c4d2afa4eadec9c1416959581b30199291e1e32abbc0818878ad9fec2582"},
		{prometheusCRDs + "servicemonitors.yaml", "7dd4206947c94bc76f71daa07c45a1010a5d697c54fe079f8207b0e82026a26a"},
		{prometheusCRDs + "thanosrulers.yaml", "75d58ca8a97cb89b6295e06d18beb717b954439c989ab1811fe98e54404dc720"},
	},
	"redis-operator": {
		{"https://raw.githubusercontent.com/OT-CONTAINER-KIT/redis-operator/v0.26.0/charts/redis-operator/crds/crds.yaml", "64b5dbd6eb96a1970e53e37e6b8f17195ea030ddbdc5789d26da2a4d2a7803e2"},
	},
	"rabbitmq-cluster-operator": {
		{"https://raw.githubusercontent.com/rabbitmq/cluster-operator/v2.22.3/config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml", "3d12de2e4281eb91c49d9860b733b6aa741fe0f608c6a2c4160226fe4993d0de"},
	},
}

// newCRDs declares the command that installs the CRDs of a release. It applies them with kubectl on the control plane:
// server-side, because several are larger than the annotation of a client-side apply may be, and from files whose
// checksum is verified, which the provider's own resources for manifests do not support. CRDs stay when their chart is
// removed, because deleting a CRD deletes every object of its kind.
func (s *shared) newCRDs(ctx *pulumi.Context, release string, parent component.Component) (pulumi.Resource, error) {
	args := cluster.Arguments{pulumi.String(release)}.Flag("files-mirror", pulumi.String(s.config.Mirror.Files))
	for _, file := range chartCRDs[release] {
		args = append(args, pulumi.String(file.url), pulumi.String(s.config.Mirror.Checksum(release, file.sha256)))
	}
	crds, err := s.cluster.NewCommand(ctx, "crds-"+release, &cluster.CommandArgs{
		Create: cluster.Script{Name: "crds", Args: args}, Minutes: 10,
	}, component.Child(parent),
		// They need no early sweep, since nothing in AWS comes from them, and so are installed beside Argo CD.
		component.DependsOn(s.cluster.Ready))
	if err != nil {
		return nil, fmt.Errorf("installing the custom resource definitions of %s: %w", release, err)
	}
	return crds, nil
}
