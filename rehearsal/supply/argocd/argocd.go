// Package argocd adds Argo CD to the mirror: upstream's manifest, unchanged, and the images in it. Argo CD is real,
// built from its Go module. So are kustomize, and the git and gpg that Argo CD calls, which are Debian's.
//
// These differ from what upstream publishes: Redis is Debian's, an older version than the image's tag. There are no
// Helm, which Argo CD calls only for an Application whose source is a chart, no Git LFS, and no Dex, which the program
// scales to zero. The module does not contain the web interface, so the server has none.
package argocd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/mirror"
)

// The version, the manifest's URL, and the images in the manifest.
const (
	Version    = "v3.5.1"
	URL        = "https://raw.githubusercontent.com/argoproj/argo-cd/" + Version + "/manifests/install.yaml"
	Image      = "quay.io/argoproj/argocd:" + Version
	RedisImage = "public.ecr.aws/docker/library/redis:8.2.3-alpine"
)

// kustomizeVersion is the version in upstream's image of Version.
const kustomizeVersion = "v5.8.1"

// tools lists the Debian packages of the programs that Argo CD calls, of a shell for scripts, and of their libraries.
var tools = []string{
	"coreutils", "dash", "git", "gpg", "gpg-agent", "gpgconf", "openssh-client", "tini",
	"libacl1", "libassuan0", "libattr1", "libbrotli1", "libbsd0", "libbz2-1.0", "libc6", "libcbor0.8",
	"libcom-err2", "libcurl3-gnutls", "libedit2", "libexpat1", "libffi8", "libfido2-1", "libgcrypt20", "libgmp10",
	"libgnutls30", "libgpg-error0", "libgssapi-krb5-2", "libhogweed6", "libidn2-0", "libk5crypto3", "libkeyutils1",
	"libkrb5-3", "libkrb5support0", "libldap-2.5-0", "libmd0", "libnettle8", "libnghttp2-14", "libnpth0",
	"libp11-kit0", "libpcre2-8-0", "libpsl5", "libreadline8", "librtmp1", "libsasl2-2", "libselinux1",
	"libsqlite3-0", "libssh2-1", "libssl3", "libtasn1-6", "libtinfo6", "libudev1", "libunistring2", "libzstd1",
	"zlib1g",
}

// redis lists the Debian packages of Redis and its libraries.
var redis = []string{
	"redis-server", "redis-tools",
	"libatomic1", "libc6", "libcap2", "libgcc-s1", "libgcrypt20", "libgpg-error0", "libjemalloc2", "liblz4-1",
	"liblzf1", "liblzma5", "libssl3", "libstdc++6", "libsystemd0", "libzstd1",
}

// names lists the symbolic links to the binary, which runs the component by whose name it is called.
var names = []string{
	"argocd-server", "argocd-repo-server", "argocd-application-controller", "argocd-applicationset-controller",
	"argocd-notifications", "argocd-cmp-server", "argocd-commit-server", "argocd-dex", "argocd-k8s-auth",
}

// Images returns the names of the images that Add serves.
func Images() (names []string) {
	for _, image := range images("", "", "", "") {
		names = append(names, image.Name)
	}
	return names
}

// Add builds the binaries that are not built yet and adds the manifest and its images to the mirror. repo is the path
// of the project's checkout. authorities holds the PEM certificates to trust for Git repositories. Add writes its
// progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	argocd, err := mirror.BuildProject(ctx, repo, "argocd", Version, out)
	if err != nil {
		return err
	}
	kustomize, err := mirror.BuildProject(ctx, repo, "kustomize", kustomizeVersion, out)
	if err != nil {
		return err
	}
	source, err := argocd.Source(ctx)
	if err != nil {
		return err
	}
	for _, image := range images(argocd.Binary("argocd"), kustomize.Binary("kustomize"), source, authorities) {
		if err := m.AddImage(ctx, image, out); err != nil {
			return err
		}
	}
	manifest, err := os.ReadFile(filepath.Join(source, "manifests", "install.yaml"))
	if err != nil {
		return fmt.Errorf("reading Argo CD's manifest: %w", err)
	}
	return m.AddFile(URL, manifest)
}

// images returns both images. They contain the two binaries, scripts from Argo CD's source, and Debian packages.
func images(argocd, kustomize, source, authorities string) []mirror.Image {
	links := map[string]string{}
	for _, name := range names {
		links["/usr/local/bin/"+name] = "argocd"
	}
	return []mirror.Image{
		{
			Name: Image,
			Files: map[string]string{
				"/usr/local/bin/argocd":                argocd,
				"/usr/local/bin/kustomize":             kustomize,
				"/usr/local/bin/entrypoint.sh":         filepath.Join(source, "entrypoint.sh"),
				"/usr/local/bin/gpg-wrapper.sh":        filepath.Join(source, "hack", "gpg-wrapper.sh"),
				"/usr/local/bin/git-verify-wrapper.sh": filepath.Join(source, "hack", "git-verify-wrapper.sh"),
			},
			Links: links,
			Texts: map[string]string{
				"/etc/passwd":       "root:x:0:0::/root:/bin/sh\nargocd:x:999:999::/home/argocd:/bin/sh\n",
				"/etc/group":        "root:x:0:\nargocd:x:999:\n",
				authority.TrustFile: authorities,
			},
			Debian:     tools,
			Entrypoint: []string{"/usr/bin/tini", "--"},
			User:       "999",
			Env:        []string{"USER=argocd", "GRPC_ENABLE_TXT_SERVICE_CONFIG=false"},
		},
		{
			// The manifest sets arguments only: the entrypoint of upstream's image is a script that adds the command.
			Name: RedisImage, Debian: redis, Entrypoint: []string{"/usr/bin/redis-server"}, User: "999",
		},
	}
}
