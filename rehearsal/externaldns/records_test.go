package externaldns

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/awsapitest"
	"eco2/rehearsal/kubernetes/apitest"
	"eco2/rehearsal/mirror"
)

var api *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, "../..", &api) }

// The real external-dns, told what the chart tells it, writes records of an Ingress in the model of Route 53, and
// takes them away with it. Others' records stay.
func TestRecords(t *testing.T) {
	binary, err := mirror.Find("../..", name)
	if err != nil {
		t.Skip("this test needs external-dns: ", err)
	}
	w := awsapitest.New(t, "../..")
	w.Certificate("dev.example.com") // whose domain is the zone's
	balancer := aws.LoadBalancer{ARN: "arn:x", Name: "k8s-eco2dev-0123456789", DNSName: "k8s-eco2dev-0123456789.ap-northeast-2.elb.amazonaws.com"}
	require.NoError(t, w.Account.PutLoadBalancer(balancer))
	w.Create("aws:route53/record:Record", "foreign", map[string]any{"zoneId": aws.HostedZone, "ttl": 60, "type": "A",
		"name": "other.dev.example.com", "records": []any{"192.0.2.1"}})
	kubeconfig := t.TempDir() + "/kubeconfig"
	require.NoError(t, os.WriteFile(kubeconfig, []byte(api.Kubeconfig), 0o600))
	cluster, err := api.Client()
	require.NoError(t, err)

	ctx, stop := context.WithCancel(t.Context())
	var output bytes.Buffer
	command := exec.CommandContext(ctx, binary.Binary(name), "--kubeconfig="+kubeconfig, "--source=ingress", "--policy=sync", "--events",
		"--registry=txt", "--txt-owner-id=eco2-dev", "--txt-prefix=edns-%{record_type}.", "--provider=aws", "--aws-zone-type=public",
		"--interval=1s", "--min-event-sync-interval=100ms", "--metrics-address=127.0.0.1:0")
	command.Env = append(os.Environ(), "AWS_DEFAULT_REGION="+awsapitest.Region)
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		stop()
		_ = command.Wait() // it was killed
		if t.Failed() {
			t.Log(output.String())
		}
	})

	names := func() (all []string) {
		records, err := w.Account.RecordsOf(aws.HostedZone)
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
		Spec:       networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "argocd.dev.example.com"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: balancer.DNSName}}
	_, err = ingresses.UpdateStatus(t.Context(), ingress, metav1.UpdateOptions{})
	require.NoError(t, err)
	// An alias for each kind of address, whatever the load balancer has, and a mark of whose each is.
	eventually("A argocd.dev.example.com", "TXT edns-cname.argocd.dev.example.com",
		"AAAA argocd.dev.example.com", "TXT edns-aaaa.argocd.dev.example.com")

	require.NoError(t, ingresses.Delete(t.Context(), "argocd", metav1.DeleteOptions{}))
	eventually()
}
