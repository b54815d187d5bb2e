package mirror

import (
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/mirror/mirrortest"
	"eco2/rehearsal/supply/mirror/server"
)

// clusterOf returns the sources of a cluster whose binaries are small files with their name and version.
func clusterOf(t *testing.T, kubernetesVersion string, images ...string) sources {
	t.Helper()
	s := sources{built: map[string]Built{}, images: images, debian: debian{out: io.Discard}, cache: t.TempDir(), out: io.Discard}
	for p, version := range map[*project]string{
		&kubernetes: kubernetesVersion, &criTools: kubernetesVersion[:strings.LastIndexByte(kubernetesVersion, '.')] + ".0", &cniPlugins: "1.9.1",
		&etcd: taggedVersion(images, "etcd"), &coreDNS: taggedVersion(images, "coredns"),
	} {
		b := Built{Version: "v" + version, project: *p, dir: t.TempDir()}
		for _, command := range p.packages {
			text := "#!/bin/sh\necho " + command.binary(*p) + " " + version + "\n"
			require.NoError(t, os.WriteFile(b.Binary(command.binary(*p)), []byte(text), 0o755)) //nolint:gosec // it is run
		}
		s.built[p.name] = b
	}
	return s
}

// What apt finds on a machine whose stack is upgraded: the packages of all versions, and those of another minor version
// in a repository of its own, which the same key signs.
func TestAptFindsEachVersion(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "gpgv")
	m := Mirror{Dir: t.TempDir()}
	s := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(s.Close)
	all := []sources{clusterOf(t, "1.36.5"), clusterOf(t, "1.36.4"), clusterOf(t, "1.37.2")}
	keys, err := m.addKubernetesRepositories(t.Context(), all)
	require.NoError(t, err)

	find := func(minor string, wants map[string]string) {
		root := "pkgs.k8s.io/core:/stable:/v" + minor + "/deb"
		key := m.layout().File(root + "/Release.key")
		apt := newApt(t, "deb [signed-by="+key+".asc,"+keys+"] "+s.URL+"/files/"+root+" /\n")
		require.NoError(t, os.Link(key, key+".asc"))
		apt.run(t, "update")
		for wanted, file := range wants {
			apt.run(t, "download", wanted)
			assert.FileExists(t, filepath.Join(string(apt), file+"_"+runtime.GOARCH+".deb"), wanted)
		}
	}
	find("1.36", map[string]string{
		"kubelet=1.36.4-*": "kubelet_1.36.4-2.1", "kubelet=1.36.5-*": "kubelet_1.36.5-2.1",
		"kubeadm=1.36.4-*": "kubeadm_1.36.4-2.1", "kubeadm=1.36.5-*": "kubeadm_1.36.5-2.1",
		"kubectl=1.36.4-*": "kubectl_1.36.4-1.1", "kubectl=1.36.5-*": "kubectl_1.36.5-1.1",
		"cri-tools=1.36.*": "cri-tools_1.36.0-1.1",
	})
	find("1.37", map[string]string{
		"kubelet=1.37.2-*": "kubelet_1.37.2-2.1", "cri-tools=1.37.*": "cri-tools_1.37.0-1.1", "kubernetes-cni": "kubernetes-cni_1.9.1-1.1",
	})
}

// If one of the repositories that a key signs is missing, the others are made again with it.
func TestRepositoriesOfMinorVersionsHaveOneKey(t *testing.T) {
	needs(t, "dpkg-deb")
	m := Mirror{Dir: t.TempDir()}
	all := []sources{clusterOf(t, "1.36.5"), clusterOf(t, "1.37.2")}
	before, err := m.addKubernetesRepositories(t.Context(), all)
	require.NoError(t, err)
	again, err := m.addKubernetesRepositories(t.Context(), all)
	require.NoError(t, err)
	assert.Equal(t, before, again, "nothing was missing")

	require.NoError(t, os.RemoveAll(m.layout().File("pkgs.k8s.io/core:/stable:/v1.37/deb")))
	after, err := m.addKubernetesRepositories(t.Context(), all)
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	for _, minor := range []string{"1.36", "1.37"} {
		fingerprint, err := m.fingerprint("pkgs.k8s.io/core:/stable:/v" + minor + "/deb/Release.key")
		require.NoError(t, err)
		assert.Equal(t, after, fingerprint, minor)
	}
}

// The images of each version are those that its kubeadm pulls, with its binaries.
func TestImagesOfEachVersion(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	for _, s := range []sources{
		clusterOf(t, "1.36.5", "registry.k8s.io/kube-apiserver:v1.36.5", "registry.k8s.io/etcd:3.6.8-0", "registry.k8s.io/coredns/coredns:v1.14.2"),
		clusterOf(t, "1.37.2", "registry.k8s.io/kube-apiserver:v1.37.2", "registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/coredns/coredns:v1.14.6"),
	} {
		require.NoError(t, m.addClusterImages(t.Context(), s))
	}
	for image, binary := range map[string]struct{ path, says string }{
		"kube-apiserver:v1.36.5":  {"usr/local/bin/kube-apiserver", "kube-apiserver 1.36.5"},
		"kube-apiserver:v1.37.2":  {"usr/local/bin/kube-apiserver", "kube-apiserver 1.37.2"},
		"etcd:3.6.8-0":            {"usr/local/bin/etcd", "etcd 3.6.8"},
		"etcd:3.7.0-0":            {"usr/local/bin/etcd", "etcd 3.7.0"},
		"coredns/coredns:v1.14.2": {"usr/local/bin/coredns", "coredns 1.14.2"},
		"coredns/coredns:v1.14.6": {"usr/local/bin/coredns", "coredns 1.14.6"},
	} {
		pulled, err := mirrortest.Pull(t, m.Dir, "registry.k8s.io/"+image)
		require.NoError(t, err, image)
		data, err := os.ReadFile(filepath.Join(mirrortest.Unpack(t, pulled), binary.path))
		require.NoError(t, err)
		assert.Contains(t, string(data), binary.says+"\n", image)
	}
}

func TestTaggedVersion(t *testing.T) {
	images := []string{"registry.k8s.io/etcd-other:1.0.0", "registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/coredns/coredns:v1.14.6"}
	assert.Equal(t, "3.7.0", taggedVersion(images, "etcd"))
	assert.Equal(t, "1.14.6", taggedVersion(images, "coredns"))
	assert.Empty(t, taggedVersion(images, "pause"))
}

// Mirrors of different versions have most layers in common, of which the cache keeps one.
func TestMirrorsShareLayers(t *testing.T) {
	cache := t.TempDir()
	file := program(t, "#!/bin/true\n")
	var blobs []os.FileInfo
	for _, name := range []string{"mirror-1", "mirror-2"} {
		m := Mirror{Dir: filepath.Join(cache, name)}
		layer, err := fileLayer("/usr/bin/agent", file, 0o755)
		require.NoError(t, err)
		image, err := mutate.AppendLayers(empty.Image, layer)
		require.NoError(t, err)
		layers, err := image.Layers()
		require.NoError(t, err)
		require.NoError(t, m.putLayer(layers[0]))
		digest, err := layer.Digest()
		require.NoError(t, err)
		info, err := os.Stat(m.layout().Blob(digest.String()))
		require.NoError(t, err)
		blobs = append(blobs, info)
	}
	assert.True(t, os.SameFile(blobs[0], blobs[1]))
}
