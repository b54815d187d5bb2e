package releases

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/printed"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/mirror"
)

// runDNS runs the real external-dns until the test ends, with the arguments from the chart of a stack, and returns its
// output.
func runDNS(t *testing.T, stack string) *printed.Text {
	t.Helper()
	api.Need(t)
	binary, err := mirror.Find(repo, externalDNS.name)
	needs.Built(t, err)
	kubeconfig := t.TempDir() + "/kubeconfig"
	require.NoError(t, os.WriteFile(kubeconfig, []byte(api.Kubeconfig), 0o600))
	_, deployment := renderedDNS(t, stack)
	args := deployment.Spec.Template.Spec.Containers[0].Args
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "Z0123456789ABCDEFGHIJ", setup.HostedZone)
	}
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--interval=") })
	ctx, stop := context.WithCancel(t.Context())
	output := &printed.Text{}
	command := exec.CommandContext(ctx, binary.Binary(externalDNS.name), append(args,
		"--kubeconfig="+kubeconfig, "--interval=1s", "--min-event-sync-interval=100ms", "--metrics-address=127.0.0.1:0")...)
	command.Env = append(os.Environ(), "AWS_DEFAULT_REGION="+awsapitest.Region)
	command.Stdout, command.Stderr = output, output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		stop()
		_ = command.Wait() // always an error: it was killed
		if t.Failed() {
			t.Log(output.String())
		}
	})
	return output
}

// The real external-dns creates an Ingress's records in the model of Route 53, and deletes them with the Ingress. It
// does not touch other records.
func TestRecords(t *testing.T) {
	for stack, domain := range map[string]string{
		"dev":  "dev.growbin.app", // in the zone of its parent domain
		"prod": "growbin.app",     // a subdomain has its own zone, which this role may not read
	} {
		t.Run(stack, func(t *testing.T) { records(t, stack, domain) })
	}
}

func records(t *testing.T, stack, domain string) {
	api.Need(t)
	w := awsapitest.NewStack(t, repo, stack)
	w.Certificate(domain)
	balancer := aws.LoadBalancer{ARN: "arn:x", Name: "k8s-eco2dev-0123456789", DNSName: "k8s-eco2dev-0123456789.ap-northeast-2.elb.amazonaws.com"}
	require.NoError(t, w.Account.PutLoadBalancer(balancer))
	w.Create("aws:route53/record:Record", "foreign", map[string]any{"zoneId": setup.HostedZone, "ttl": 60, "type": "A",
		"name": "other." + domain, "records": []any{"192.0.2.1"}})
	cluster, err := api.Client()
	require.NoError(t, err)
	runDNS(t, stack)

	names := func() (all []string) {
		records, err := w.Account.RecordsOf(setup.HostedZone)
		require.NoError(t, err)
		for _, r := range records {
			all = append(all, r.Type+" "+strings.TrimSuffix(r.Name, "."))
		}
		return all
	}
	before := names()
	eventually := func(more ...string) {
		t.Helper()
		assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.ElementsMatch(c, append(more, before...), names()) },
			time.Minute, 100*time.Millisecond)
	}
	class := "alb"
	ingresses := cluster.NetworkingV1().Ingresses("default")
	ingress, err := ingresses.Create(t.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "argocd"},
		Spec:       networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "argocd." + domain}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: balancer.DNSName}}
	_, err = ingresses.UpdateStatus(t.Context(), ingress, metav1.UpdateOptions{})
	require.NoError(t, err)
	// An alias record for IPv4 and one for IPv6, whatever addresses the load balancer has, and a TXT record with the
	// owner for each.
	eventually("A argocd."+domain, "TXT edns-cname.argocd."+domain,
		"AAAA argocd."+domain, "TXT edns-aaaa.argocd."+domain)

	require.NoError(t, ingresses.Delete(t.Context(), "argocd", metav1.DeleteOptions{}))
	eventually()
}
