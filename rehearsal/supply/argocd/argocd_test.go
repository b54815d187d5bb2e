package argocd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"eco2/config"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/supply/argocd"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/mirror/mirrortest"
)

const (
	repo = "../../.."
	// kustomization is the file that the product uses.
	kustomization = repo + "/cluster/manifests/argocd/kustomization.yaml"
)

// add returns a mirror with Argo CD only.
func add(t *testing.T, authorities string) mirror.Mirror {
	t.Helper()
	m := mirror.Mirror{Dir: t.TempDir()}
	require.NoError(t, argocd.Add(t.Context(), m, repo, authorities, os.Stderr))
	return m
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// workload holds the fields of a Deployment or a StatefulSet that the tests need.
type workload struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Replicas *int
		Template struct{ Spec corev1.PodSpec }
	}
}

func (w workload) containers() []corev1.Container {
	return append(w.Spec.Template.Spec.InitContainers, w.Spec.Template.Spec.Containers...)
}

func workloads(t *testing.T, manifest []byte) map[string]workload {
	t.Helper()
	found := map[string]workload{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var w workload
		err := decoder.Decode(&w)
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		if w.Kind == "Deployment" || w.Kind == "StatefulSet" {
			found[w.Metadata.Name] = w
		}
	}
}

// patched returns a manifest as the product applies it.
func patched(t *testing.T, manifest []byte) []byte {
	t.Helper()
	files := filesys.MakeFsInMemory()
	require.NoError(t, files.WriteFile("kustomization.yaml", read(t, kustomization)))
	require.NoError(t, files.WriteFile("install.yaml", manifest))
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, ".")
	require.NoError(t, err)
	text, err := result.AsYaml()
	require.NoError(t, err)
	return text
}

func TestMirror(t *testing.T) {
	m := add(t, "")
	manifest := read(t, filepath.Join(m.Dir, "files", strings.TrimPrefix(argocd.URL, "https://")))

	t.Run("serves exactly the images that run, with upstream's containers", func(t *testing.T) {
		upstream, applied := workloads(t, manifest), workloads(t, patched(t, manifest))
		require.Len(t, applied, len(upstream))
		required := map[string]bool{}
		for name, w := range applied {
			runs := w.Spec.Replicas == nil || *w.Spec.Replicas == 1
			assert.Equal(t, name != "argocd-dex-server", runs, name)
			for i, container := range w.containers() {
				assert.Equal(t, upstream[name].containers()[i], container, "%s: patches must not change the containers", name)
				if runs {
					required[container.Image] = true
				}
			}
		}
		assert.Equal(t, map[string]bool{argocd.Image: true, argocd.RedisImage: true}, required)
		for image := range required {
			_, err := mirrortest.Pull(t, m.Dir, image)
			assert.NoError(t, err)
		}
	})

	t.Run("serves the manifest that the program pins", func(t *testing.T) {
		versions := string(read(t, repo+"/config/versions.go"))
		_, pin, known := strings.Cut(versions, `"`+argocd.URL+`"`)
		require.True(t, known)
		sum := sha256.Sum256(manifest)
		assert.Regexp(t, `^,\s+SHA256:\s+"`+hex.EncodeToString(sum[:])+`"`, pin)
		assert.Equal(t, config.DefaultVersions.ArgoCD, argocd.Version)
	})
}

// unpacked is an image's root directory, in which run runs commands as the image's user.
type unpacked struct {
	t   *testing.T
	dir string
}

func unpack(t *testing.T, m mirror.Mirror, name string) unpacked {
	t.Helper()
	image, err := mirrortest.Pull(t, m.Dir, name)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "999", config.Config.User, "the user must be a number, so that Kubernetes can verify that it is not root")
	u := unpacked{t: t, dir: mirrortest.Unpack(t, image)}
	// Create what the container runtime and the manifest's volumes would add.
	require.NoError(t, os.Chmod(u.dir, 0o755))
	for _, dir := range []string{"dev", "tmp", "app/config/gpg/keys"} {
		require.NoError(t, os.MkdirAll(filepath.Join(u.dir, dir), 0o755))
		require.NoError(t, os.Chown(filepath.Join(u.dir, dir), 999, 999))
	}
	require.NoError(t, os.WriteFile(filepath.Join(u.dir, "dev", "null"), nil, 0o644))
	require.NoError(t, os.Chown(filepath.Join(u.dir, "dev", "null"), 999, 999))
	return u
}

func (u unpacked) run(args ...string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), args[0], args[1:]...)
	cmd.Dir = "/tmp"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "GNUPGHOME=/app/config/gpg/keys"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: u.dir, Credential: &syscall.Credential{Uid: 999, Gid: 999}}
	out, err := cmd.CombinedOutput()
	require.NoError(u.t, err, "%s\n%s", strings.Join(args, " "), out)
	return string(out)
}

func TestImagesRun(t *testing.T) {
	needs.Root(t, "enter an image's files")
	git := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The minimum of the dumb HTTP protocol: a list of branches.
		switch r.URL.Path {
		case "/workloads.git/info/refs":
			_, _ = io.WriteString(w, strings.Repeat("a", 40)+"\trefs/heads/main\n")
		case "/workloads.git/HEAD":
			_, _ = io.WriteString(w, "ref: refs/heads/main\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(git.Close)
	authorities := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: git.Certificate().Raw})
	m := add(t, string(authorities))

	t.Run("argocd", func(t *testing.T) {
		u := unpack(t, m, argocd.Image)
		assert.Contains(t, u.run("/usr/local/bin/argocd", "version", "--client"), argocd.Version)
		for _, command := range []string{"argocd-server", "argocd-repo-server", "argocd-application-controller"} {
			assert.Contains(t, u.run("/usr/bin/tini", "--", "/usr/local/bin/"+command, "--help"), "\n  "+command+" [flags]")
		}
		assert.Contains(t, u.run("/usr/bin/tini", "--", "/bin/sh", "-c", "kustomize version && ssh -V"), "OpenSSH_9")
		assert.Contains(t, u.run("/usr/bin/git", "ls-remote", git.URL+"/workloads.git"), "refs/heads/main")
		require.NoError(t, os.WriteFile(filepath.Join(u.dir, "tmp", "recipe"), []byte(
			"%no-protection\nKey-Type: default\nName-Real: Anon Ymous\nExpire-Date: 6m\n%commit\n"), 0o644))
		u.run("/usr/bin/gpg", "--no-permission-warning", "--batch", "--gen-key", "/tmp/recipe")
		assert.Contains(t, u.run("/usr/local/bin/gpg-wrapper.sh", "--list-keys"), "Anon Ymous")
	})
	t.Run("redis", func(t *testing.T) {
		assert.Contains(t, unpack(t, m, argocd.RedisImage).run("/usr/bin/redis-server", "--version"), "Redis server")
	})
}

// A sync wave of the root Application waits for the previous wave, as Argo CD's own command assesses its Applications by
// the health check that the program installs.
func TestHealthOfAnApplication(t *testing.T) {
	built, err := mirror.Find(repo, "argocd")
	needs.Built(t, err)
	manifest := read(t, filepath.Join(source(t), "manifests", "install.yaml"))
	dir := t.TempDir()
	settings, application := filepath.Join(dir, "argocd-cm.yaml"), filepath.Join(dir, "application.yaml")
	for document := range strings.SplitSeq(string(patched(t, manifest)), "\n---\n") {
		if strings.Contains(document, "kind: ConfigMap\n") && strings.Contains(document, "  name: argocd-cm\n") {
			require.NoError(t, os.WriteFile(settings, []byte(document), 0o600))
		}
	}
	require.FileExists(t, settings)

	const healthy = `health: {status: Healthy}, reconciledAt: "2026-11-29T02:00:05Z"`
	for status, want := range map[string]string{
		``: "Progressing",
		`health: {status: Missing}, operationState: {phase: Running}`: "Missing",
		`health: {status: Degraded}, operationState: {phase: Failed}`: "Degraded",
		healthy: "Healthy",
		healthy + `, operationState: {phase: Running}`:                                                      "Progressing",
		healthy + `, operationState: {phase: Succeeded, finishedAt: "2026-11-29T02:00:06Z"}`:                "Progressing",
		healthy + `, operationState: {phase: Succeeded, finishedAt: "2026-11-29T02:00:05Z"}`:                "Healthy",
		`health: {status: Healthy}, operationState: {phase: Succeeded, finishedAt: "2026-11-29T02:00:05Z"}`: "Progressing",
	} {
		text := "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: some}\nstatus: {" + status + "}\n"
		require.NoError(t, os.WriteFile(application, []byte(text), 0o600))
		output, err := exec.CommandContext(t.Context(), built.Binary("argocd"), "admin", "settings", "resource-overrides", "health",
			application, "--argocd-cm-path="+settings).Output()
		require.NoError(t, err)
		assert.Contains(t, string(output), "STATUS: "+want+"\n", status)
	}
}

// source returns the directory of Argo CD's module.
func source(t *testing.T) string {
	t.Helper()
	built, err := mirror.Find(repo, "argocd")
	needs.Built(t, err)
	dir, err := built.Source(t.Context())
	require.NoError(t, err)
	return dir
}
