package kubebench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/supply/mirror"
)

const repo = "../../.."

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, repo, &server) }

// thisHost stands for a machine. It has a kubectl, and access to the API server of the tests.
type thisHost struct{ kubectl, kubeconfig string }

func (h thisHost) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+h.kubeconfig, "PATH="+filepath.Dir(h.kubectl)+":"+os.Getenv("PATH"))
	return cmd
}

// offending creates objects that do not comply: a grant of cluster-admin to a group, a role with a wildcard, and a pod
// whose default service account mounts its token.
func offending(t *testing.T, group, role, namespace string) {
	t.Helper()
	client, err := server.Client()
	require.NoError(t, err)
	ctx, create := t.Context(), metav1.CreateOptions{}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: group},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}},
	}, create)
	require.NoError(t, err)
	_, err = client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"*"}, Verbs: []string{"get"}}},
	}, create)
	require.NoError(t, err)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, create)
	require.NoError(t, err)
	_, err = client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "some"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "default", Containers: []corev1.Container{{Name: "some", Image: "eco2.example/none"}},
		},
	}, create)
	require.NoError(t, err)
}

// kube-bench runs, and what it prints is read: all automated checks of each role, and the objects that do not comply.
// This host is not a node, so most of the other checks fail.
func TestKubeBenchRuns(t *testing.T) {
	server.Need(t)
	needs.Root(t, "mount bash as /bin/sh")
	tool, err := Find(t.Context(), repo)
	needs.Built(t, err)
	kubernetes, err := mirror.Find(repo, "kubernetes")
	needs.Built(t, err)
	host := thisHost{kubectl: kubernetes.Binary("kubectl"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	require.NoError(t, os.WriteFile(host.kubeconfig, []byte(server.Kubeconfig), 0o600))

	offending(t, "kubeadm:cluster-admins", "argocd-server", "kube-system") // as accepted
	client, err := server.Client()
	require.NoError(t, err)
	more := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "more"}}
	_, err = client.CoreV1().Namespaces().Create(t.Context(), more, metav1.CreateOptions{})
	require.NoError(t, err)
	offending(t, "more", "more", "more")

	failed := map[Role]map[string]Finding{}
	for role, want := range map[Role]int{ControlPlane: 70, Worker: 12} {
		result, err := tool.Check(t.Context(), host, role)
		require.NoError(t, err)
		assert.Equal(t, want, result.Passed+len(result.Accepted)+len(result.Failed), role)
		assert.Positive(t, result.Manual, role)
		failed[role] = map[string]Finding{}
		for _, f := range result.Failed {
			failed[role][f.ID] = f
		}
		assert.Contains(t, failed[role]["4.1.6"].Text, "kubelet.conf", role)
	}
	for id, name := range map[string]string{
		"5.1.1": "role_name: more ", "5.1.3": "clusterrole_name: more ",
		"5.1.5": "namespace: more,", "5.1.6": "namespace: more ",
	} {
		why := failed[ControlPlane][id].Why
		assert.Contains(t, why, name)
		assert.NotContains(t, why, "\n", "accepted objects are named too")
	}
	for _, id := range []string{"5.1.2", "5.1.4"} {
		assert.NotContains(t, failed[ControlPlane], id)
	}

	left, err := filepath.Glob("/var/tmp/tmp.*/kube-bench")
	require.NoError(t, err)
	assert.Empty(t, left)
}

// The edition is the newest that this kube-bench has, and the accepted failures are of automated checks in it.
func TestAcceptedFailuresAreOfTheNewestEdition(t *testing.T) {
	source, err := mirror.Source(t.Context(), repo, project)
	require.NoError(t, err)
	config, err := os.ReadFile(filepath.Join(source, "cfg", "config.yaml"))
	require.NoError(t, err)
	editions := regexp.MustCompile(`(?m)^  "1\.\d+": "(.*)"$`).FindAllStringSubmatch(string(config), -1)
	require.Greater(t, len(editions), 10)
	assert.Equal(t, benchmark, editions[len(editions)-1][1])

	files, err := filepath.Glob(filepath.Join(source, "cfg", benchmark, "*.yaml"))
	require.NoError(t, err)
	var checks strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		checks.Write(text)
	}
	for _, accepted := range acceptedFailures {
		assert.Regexp(t, `- id: `+regexp.QuoteMeta(accepted.id)+`\n +text: .*\(Automated\)`, checks.String())
		assert.NotEmpty(t, accepted.reason)
	}
}

func TestAcceptedFailuresAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(repo, "docs", "rehearsal.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "| Check | Fails on the | Why |\n|---|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	want := ""
	for _, accepted := range acceptedFailures {
		want += "| " + accepted.id + " | " + string(accepted.role) + " | " + accepted.reason + " |\n"
	}
	assert.Equal(t, want, table+"\n")
	assert.Contains(t, string(page), "kube-bench) "+version)
}
