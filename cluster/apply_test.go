package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pinnedManifest = "the manifest\n"

// newApplyHost returns a host whose curl downloads pinnedManifest, or fails if the file offline exists. Its kubectl
// records the calls that change something, the objects on its standard input, and
// the files that kustomize combines.
func newApplyHost(t *testing.T) testHost {
	t.Helper()
	c := newTestHost(t)
	c.command("curl", `[[ ! -e "`+c.dir+`/offline" ]] || exit 6
while [[ $1 != --output ]]; do shift; done
echo "the manifest" >"$2"`)
	c.command("sleep", "")
	c.command("kubectl", `cd "`+c.dir+`"; call=$*
case $call in
kustomize*) ls "$2" >>calls;;
apply*-f\ -) echo "${call% -f -}" >>calls; cat >>calls;;
apply*) echo "${call% -f *}" >>calls; echo customresourcedefinition.apiextensions.k8s.io/pools;;
*"get deployments,statefulsets"*) echo deployment.apps/argocd-server;;
wait*) [[ -e created ]] || { touch created; exit 1; };;
*" get "*) ;;
*) echo "$call" >>calls;;
esac`)
	return c
}

// manifestFlags returns the flags of calico.sh and argocd.sh with this checksum.
func manifestFlags(checksum string) []string {
	return []string{"--manifest-url", "https://upstream.example/manifest.yaml", "--manifest-sha256", checksum, "--files-mirror", ""}
}

// A manifest must be the pinned one, built by kustomize in one directory with its kustomization, and applied
// server-side: a client-side apply stores the whole object in an annotation, which is too small for large definitions.
func TestManifestIsPinnedAndAppliedServerSide(t *testing.T) {
	const apply = "apply --server-side --force-conflicts --field-manager=eco2 --output=name\n"
	sum := sha256.Sum256([]byte(pinnedManifest))
	checksum := hex.EncodeToString(sum[:])
	input := bundle(map[string]string{"kustomization.yaml": "the kustomization\n", "metadata-service.yaml": "the policy\n"})
	c := newApplyHost(t)
	printed, err := c.try("calico", input, manifestFlags(checksum)...)
	require.NoError(t, err, printed)
	assert.Equal(t, "calico.yaml\nkustomization.yaml\nmetadata-service.yaml\n"+apply+apply, c.read("calls"))
	assert.FileExists(t, c.dir+"/created", "the script must wait until its custom resources are served, and try again if kubectl finds no condition yet")

	c = newApplyHost(t)
	printed, err = c.try("calico", input, manifestFlags(hex.EncodeToString(make([]byte, sha256.Size)))...)
	require.Error(t, err)
	assert.Contains(t, printed, "https://upstream.example/manifest.yaml does not have the pinned checksum 0000")
	assert.Empty(t, c.read("calls"))

	c.write("offline", "")
	printed, err = c.try("calico", input, manifestFlags(checksum)...)
	require.Error(t, err)
	assert.Contains(t, printed, "error: cannot download https://upstream.example/manifest.yaml; check that this machine reaches it")
	assert.Empty(t, c.read("calls"))
}

// argocd.sh must wait for each workload of Argo CD, and must leave its default project without any permission.
func TestArgoCDIsAwaitedAndItsDefaultProjectEmptied(t *testing.T) {
	sum := sha256.Sum256([]byte(pinnedManifest))
	c := newApplyHost(t)
	printed, err := c.try("argocd", "the kustomization\n", manifestFlags(hex.EncodeToString(sum[:]))...)
	require.NoError(t, err, printed)
	calls := c.read("calls")
	assert.Contains(t, calls, "--namespace=argocd rollout status deployment.apps/argocd-server")
	assert.Contains(t, calls, "metadata: {name: default, namespace: argocd}\nspec:\n"+
		"  description: Permits nothing; Applications must name another project\n  sourceRepos: []\n  destinations: []\n  clusterResourceWhitelist: []\n")
	assert.NotContains(t, calls, "rollout restart", "a new server has read its parameters")
}
