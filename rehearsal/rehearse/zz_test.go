package rehearse

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPoliciesByHand(t *testing.T) {
	c := newCluster(t)
	c.OwnHome()
	off := map[string]any{}
	for _, n := range []string{"k8s-api-auth", "k8s-api-my", "k8s-api-scan", "k8s-api-character", "k8s-api-location", "k8s-api-info", "k8s-api-chat", "k8s-worker-storage", "k8s-rabbitmq", "k8s-postgresql", "k8s-redis"} {
		off[n] = map[string]any{"count": 0}
	}
	c.Options.Config["nodes"] = off
	c.Must(c.Up())
	c.connect()
	c.awaitReady(3, time.Minute)
	data, err := os.ReadFile("/tmp/pol/policies.json")
	require.NoError(t, err)
	var list struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal(data, &list))
	for _, item := range list.Items {
		var m struct{ Metadata struct{ Namespace string } }
		require.NoError(t, json.Unmarshal(item, &m))
		c.kubectl("create", "namespace", m.Metadata.Namespace)
		_, err := c.try(string(item), "apply", "--server-side", "--field-manager=pulumi-kubernetes-abc", "--filename=-")
		require.NoError(t, err)
	}
	started := time.Now()
	t.Run("policies", c.policies)
	t.Logf("took %s", time.Since(started))
	for os.Getenv("KEEP") != "" {
		if _, err := os.Stat("/tmp/pol/end"); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
}
