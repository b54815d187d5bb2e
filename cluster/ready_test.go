package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A kubelet without a serving certificate cannot serve requests, so `kubectl logs` would fail on a cluster that is
// reported as ready.
func TestReadyWaitsForServingCertificates(t *testing.T) {
	c := newTestHost(t)
	// The second node's kubelet answers once the approval has run.
	c.write("bin/kubectl", `#!/bin/bash
cd "`+c.dir+`"
case "$*" in
*proxy/healthz) echo "$*" >>calls; [[ $* == *nodes/a/* || -e approved ]];;
*"get nodes"*|*selector=k8s-app=calico-node*) printf 'a True\nb True\n';;
*daemonset*) echo 2 1 1;;
*rollout*) echo successfully rolled out;;
esac
`)
	c.write("bin/systemctl", "#!/bin/bash\necho \"$*\" >>'"+c.dir+"/calls'; touch '"+c.dir+"/approved'\n")
	for _, command := range []string{"kubectl", "systemctl"} {
		require.NoError(t, os.Chmod(filepath.Join(c.dir, "bin", command), 0o755))
	}
	printed, calls := c.run("ready", "--nodes", "a,b", "--timeout", "60")
	assert.Contains(t, printed, "waiting for the serving certificate of b\n")
	assert.Contains(t, printed, "all nodes are ready")
	const asked = "get --raw=/api/v1/nodes/"
	assert.Equal(t, asked+"a/proxy/healthz\n"+asked+"b/proxy/healthz\nstart eco2-approve.service\n"+asked+"b/proxy/healthz\n", calls,
		"a kubelet that has answered is not asked again")
}
