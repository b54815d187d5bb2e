package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/supply/mirror"
)

// testImages is where upstream keeps the images of its tests. Their tags are those of the tests' version.
const testImages = "registry.k8s.io/e2e-test-images/"

const (
	agnhost     = testImages + "agnhost:2.66.1"
	agnhostPrev = testImages + "agnhost:2.55"
	busybox     = testImages + "busybox:1.37.0-1"
	dnsTesting  = testImages + "glibc-dns-testing:2.0.0"
	kitten      = testImages + "kitten:1.8"
	nautilus    = testImages + "nautilus:1.8"
	nginx       = testImages + "nginx:1.15-4"
	nginxNew    = testImages + "nginx:1.27-0"
	noNewPrivs  = testImages + "nonewprivs:1.4"
	nonRoot     = testImages + "nonroot:1.5"
	regression  = testImages + "regression-issue-74839:1.4"
	apiServer   = testImages + "sample-apiserver:1.29.2"
)

// Image is one that the tests' pods ask for.
type Image struct {
	Name string
	// Made says what is in it, where upstream's has something else.
	Made string
}

// Images are those that AddImages has the mirror serve, by name.
func Images() []Image {
	all := []Image{
		{agnhost, "its program from Kubernetes' module; the tools beside it are Debian's, CoreDNS is the cluster's own"},
		{agnhostPrev, "the same as `agnhost:2.66.1`"},
		{busybox, "Debian's busybox, with bash as its `sh`"},
		{dnsTesting, "Debian's, as upstream's; CoreDNS is the cluster's own"},
		{kitten, "`agnhost:2.66.1` with upstream's picture, and an `/etc/os-release` that says that Debian replaces Alpine Linux here: a test looks for that name"},
		{nautilus, "`agnhost:2.66.1` with upstream's picture"},
		{nginx, "Debian's nginx 1.22, whatever the tag says, with a short configuration"},
		{nginxNew, "the same as `nginx:1.15-4`"},
		{noNewPrivs, "its program from Kubernetes' module"},
		{nonRoot, "Debian's busybox, as user 1234"},
		{regression, "its program from Kubernetes' module"},
		{apiServer, "its program from the module k8s.io/sample-apiserver of the tests' version, newer than its tag says"},
	}
	slices.SortFunc(all, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// unserved are images that no test of the suites asks for, with what the tests need that do.
var unserved = map[string]string{
	"gcr.io/k8s-authenticated-test/agnhost:2.6":              "a registry that asks for a password",
	"invalid.registry.k8s.io/invalid/alpine:3.1":             "that this registry does not exist",
	"registry.k8s.io/build-image/distroless-iptables:v0.9.7": "a look into a machine's table of connections",
	testImages + "apparmor-loader:1.4":                       "AppArmor in the kernel",
	testImages + "busybox:1.36.1-1":                          "upstream's CSI drivers",
	testImages + "ipc-utils:1.4":                             "kubelet's own tests, another binary",
	testImages + "node-perf/npb-ep:1.6.0":                    "a node for itself, which is measured",
	testImages + "node-perf/npb-is:1.7.0":                    "a node for itself, which is measured",
	testImages + "node-perf/pytorch-wide-deep:1.0.0":         "a node for itself, which is measured",
	testImages + "perl:5.26":                                 "kubelet's own tests, another binary",
	testImages + "resource-consumer:1.14":                    "minutes of full load, for autoscalers",
	testImages + "volume/iscsi:2.7":                          "iSCSI in the kernel",
	testImages + "volume/nfs:1.6.0":                          "an NFS server in the kernel",
	"registry.k8s.io/sig-storage/nfs-provisioner:v4.0.8":     "an NFS server in the kernel",
}

// storageDrivers and cloudDrivers are where the images of CSI drivers are, for tests of storage outside the suites.
const (
	storageDrivers = "registry.k8s.io/sig-storage/"
	cloudDrivers   = "registry.k8s.io/cloud-provider-gcp/"
)

// applets are the commands that Debian's busybox is, without those for who boots or installs a machine.
var applets = strings.Fields(`[ [[ arch ash awk base64 basename bc bunzip2 bzcat bzip2 cal cat chgrp chmod chown chroot clear
	cmp cp cpio cut date dc dd df diff dirname dmesg dnsdomainname dos2unix du echo ed egrep env expand expr factor fallocate
	false fgrep find fold free getopt grep groups gunzip gzip head hexdump hostid hostname httpd id ifconfig ionice ip ipcalc
	kill killall last less link ln logger login logname losetup ls lsmod lzcat lzma md5sum microcom mkdir mke2fs mkfifo mknod
	mkpasswd mkswap mktemp more mount mv nc netstat nl nologin nproc nsenter nslookup od passwd paste patch pidof ping ping6
	pivot_root printf ps pwd readlink realpath renice reset rev rm rmdir route run-parts sed seq setpriv setsid sh sha1sum
	sha256sum sha3sum sha512sum shred shuf sleep sort stat strings stty su swapoff swapon sync sysctl tac tail tar taskset
	tee telnet test tftp time timeout top touch tr traceroute traceroute6 true truncate ts tty umount uname uncompress
	unexpand uniq unix2dos unlink unlzma unshare unxz unzip uptime usleep uudecode uuencode vconfig vi w watch wc wget which
	who whoami xargs xxd xz xzcat yes zcat`)

// debianTools are what upstream's agnhost has of its distribution: bash, curl, dig, getent, netcat, iproute2 and iperf.
var debianTools = slices.Concat([]string{
	"bash", "bind9-dnsutils", "busybox-static", "curl", "iperf", "iproute2", "libc-bin", "netcat-openbsd",
}, debianLibraries)

// debianLibraries are what bash, dig and curl are linked with, and the others.
var debianLibraries = []string{
	"bind9-libs", "libatm1", "libbpf1", "libbrotli1", "libbsd0", "libc6", "libcap2", "libcom-err2", "libcurl4", "libdb5.3", "libedit2",
	"libelf1", "libffi8", "libfstrm0", "libgcc-s1", "libgmp10", "libgnutls30", "libgssapi-krb5-2", "libhogweed6", "libicu72",
	"libidn2-0", "libjemalloc2", "libjson-c5", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0",
	"libldap-2.5-0", "liblmdb0", "liblzma5", "libmaxminddb0", "libmd0", "libmnl0", "libnettle8", "libnghttp2-14",
	"libp11-kit0", "libpcre2-8-0", "libprotobuf-c1", "libpsl5", "librtmp1", "libsasl2-2", "libselinux1", "libssh2-1",
	"libssl3", "libstdc++6", "libtasn1-6", "libtinfo6", "libtirpc3", "libunistring2", "libuv1", "libxml2", "libxtables12",
	"libzstd1", "zlib1g",
}

// debianDNS are dig and getent, and what shell scripts around them call.
var debianDNS = []string{
	"bind9-dnsutils", "bind9-libs", "busybox-static", "coreutils", "dash", "libacl1", "libattr1", "libbsd0", "libc-bin",
	"libc6", "libcom-err2", "libedit2", "libfstrm0", "libgcc-s1", "libgmp10", "libgssapi-krb5-2", "libicu72",
	"libidn2-0", "libjemalloc2", "libjson-c5", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "liblmdb0",
	"liblzma5", "libmaxminddb0", "libmd0", "libnghttp2-14", "libpcre2-8-0", "libprotobuf-c1", "libselinux1", "libssl3",
	"libstdc++6", "libtinfo6", "libunistring2", "libuv1", "libxml2", "zlib1g",
}

var debianNginx = []string{"busybox-static", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "nginx", "zlib1g"}

// nginxSettings keep nginx in the foreground, with its logs where `kubectl logs` finds them.
const nginxSettings = `daemon off;
error_log /dev/stderr notice;
pid /tmp/nginx.pid;
events {}
http {
	access_log /dev/stdout;
	client_body_temp_path /tmp/client-body;
	fastcgi_temp_path /tmp/fastcgi;
	proxy_temp_path /tmp/proxy;
	scgi_temp_path /tmp/scgi;
	uwsgi_temp_path /tmp/uwsgi;
	server {
		listen 80;
		root /usr/share/nginx/html;
	}
}
`

// accounts are the users that programs may want to know by name, with more in the form of passwd and group.
func accounts(users, groups string) map[string]string {
	return map[string]string{
		"/etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n" + users,
		"/etc/group":  "root:x:0:\nnogroup:x:65534:\n" + groups,
		// Without it, glibc asks DNS before /etc/hosts.
		"/etc/nsswitch.conf": "hosts: files dns\n",
	}
}

// commands are links to busybox, without the commands that an image has of somebody else.
func commands(without ...string) map[string]string {
	return only(slices.DeleteFunc(slices.Clone(applets), func(name string) bool { return slices.Contains(without, name) })...)
}

// only are links to busybox for a few commands.
func only(names ...string) map[string]string {
	links := map[string]string{}
	for _, name := range names {
		links["/bin/"+name] = "busybox"
	}
	return links
}

// with is a map with the entries of another.
func with(entries, more map[string]string) map[string]string {
	all := maps.Clone(entries)
	maps.Copy(all, more)
	return all
}

// images are made of binaries, by their names, and of files in Kubernetes' source.
func images(binary func(name string) string, coreDNS, source string) ([]mirror.Image, error) {
	read := func(name string) (text string, err error) {
		data, err := os.ReadFile(filepath.Join(source, "test", "images", name))
		if err != nil {
			return "", fmt.Errorf("reading a file for the tests' images: %w", err)
		}
		return string(data), nil
	}
	certificate, err := read("agnhost/porter/localhost.crt")
	if err != nil {
		return nil, err
	}
	key, err := read("agnhost/porter/localhost.key")
	if err != nil {
		return nil, err
	}
	tmp := []string{"/tmp"}
	tools := mirror.Image{
		Name: agnhost, Debian: debianTools, Entrypoint: []string{"/agnhost"}, Args: []string{"pause"},
		Files: map[string]string{"/agnhost": binary("agnhost"), "/coredns": coreDNS},
		// A shell of busybox calls its own commands before those in the PATH, netcat's among them.
		Links: with(commands("ash", "ip", "nc", "nslookup", "sh"), map[string]string{
			"/agnhost-2": "agnhost", "/bin/nc": "nc.openbsd", "/bin/sh": "bash", "/usr/local/bin/iperf": "/usr/bin/iperf",
		}),
		Texts: with(accounts("user-defined-in-image:x:1000:1000::/:/bin/sh\n",
			"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"), map[string]string{
			"/localhost.crt": certificate, "/localhost.key": key,
		}),
		Folders: []string{"/tmp", "/uploads"},
	}
	previous := tools
	previous.Name = agnhostPrev
	shell := mirror.Image{
		Name: busybox, Debian: []string{"busybox-static"}, Links: commands(), Texts: accounts("", ""), Folders: tmp, Args: []string{"sh"},
	}
	user := shell
	user.Name, user.User = nonRoot, "1234"
	// Debian's busybox is older than upstream's: its shell drops environment variables whose names are no shell names.
	withBash := shell
	withBash.Debian = []string{"bash", "busybox-static", "libc6", "libtinfo6"}
	withBash.Links = with(commands("sh"), map[string]string{"/bin/sh": "bash"})
	web := mirror.Image{
		Name: nginx, Debian: debianNginx, Links: commands(), Folders: tmp,
		Texts: with(accounts("www-data:x:33:33::/:/bin/sh\n", "www-data:x:33:\n"), map[string]string{
			"/etc/nginx/nginx.conf": nginxSettings, "/usr/share/nginx/html/index.html": "<title>nginx</title>\n",
		}),
		Args: []string{"/usr/sbin/nginx"},
	}
	newWeb := web
	newWeb.Name = nginxNew
	all := []mirror.Image{
		tools, previous, withBash, user, web, newWeb,
		{
			Name: dnsTesting, Debian: debianDNS, Files: map[string]string{"/coredns": coreDNS}, Folders: tmp, Texts: accounts("", ""),
			Links: with(map[string]string{"/bin/sh": "dash"}, only("awk", "grep", "hostname", "ps", "sed")), Args: []string{"/bin/sh"},
		},
		{
			Name: noNewPrivs, Debian: shell.Debian, Links: shell.Links, Texts: shell.Texts, Folders: tmp,
			Setuid: map[string]string{"/usr/local/bin/nnp": binary("nonewprivs")}, Args: []string{"nnp"},
		},
		{Name: regression, Files: map[string]string{"/regression-issue-74839": binary("regression-issue-74839")}, Entrypoint: []string{"/regression-issue-74839"}},
		{
			Name: apiServer, Debian: shell.Debian, Links: shell.Links, Texts: shell.Texts, Folders: tmp,
			Files: map[string]string{"/sample-apiserver": binary("sample-apiserver")}, Entrypoint: []string{"/sample-apiserver"},
		},
	}
	for name, picture := range map[string]string{kitten: "kitten", nautilus: "nautilus"} {
		shown := tools
		shown.Name, shown.Args, shown.Texts = name, []string{"test-webserver"}, maps.Clone(tools.Texts)
		for _, file := range []string{picture + ".jpg", "data.json"} {
			if shown.Texts["/"+file], err = read(filepath.Join(picture, "html", file)); err != nil {
				return nil, err
			}
		}
		if name == kitten {
			// A test of image volumes looks for the name of upstream's distribution in this file.
			shown.Texts["/etc/os-release"] = "NAME=\"Debian GNU/Linux, which replaces Alpine Linux here\"\n"
		}
		all = append(all, shown)
	}
	return all, nil
}
