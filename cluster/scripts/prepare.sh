# shellcheck shell=bash
#
# Prepares a new Ubuntu or Debian machine for kubeadm: kernel settings, containerd,
# and exact versions of kubelet, kubeadm and kubectl. It is the same for all nodes. On
# a machine that is already prepared it changes nothing. On a node that has joined the
# cluster it only downloads other versions: upgrade-control-plane.sh and
# upgrade-nodes.sh install them.
#
# Flags: --node, --kubernetes-version, --containerd-version and --pause-version,
# --kubernetes-key and --docker-key, the fingerprints of the keys that sign the package
# repositories, and --files-mirror and --images-mirror, both empty if the internet is
# reachable. --upgrade is for the scripts that upgrade: which packages the run may
# replace on a node that has joined: `kubeadm`, `all` of the above, or those of the whole
# `machine`.
# Machine-specific settings belong in /etc/default/kubelet and /etc/containerd/conf.d,
# which this script does not change.

set -euo pipefail
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
readonly APT=(apt-get --assume-yes --option Acquire::Retries=3 --option Dpkg::Options::=--force-confold)

# Errors of apt for which a retry is useless.
readonly NO_SUCH_PACKAGE="^E: (Version '.*' for '.*' was not found|Unable to locate package)"
readonly BAD_SIGNATURE='(GPG error|OpenPGP signature verification failed): .*/(pkgs\.k8s\.io|download\.docker\.com)/'

await_cloud_init() {
  command -v cloud-init >/dev/null || return 0
  step 'waiting for cloud-init'
  local status=0
  timeout 600 cloud-init status --wait </dev/null >/dev/null 2>&1 || status=$?
  # 2 means that it finished with warnings.
  [[ $status == 0 || $status == 2 ]] ||
    die "cloud-init failed or took over ten minutes on $node; see 'cloud-init status --long' there"
}

# joined: whether the machine is a node of a cluster. With other packages alone it would be half upgraded.
joined() { [[ -e /etc/kubernetes/kubelet.conf ]]; }

name_host() {
  step "naming the host $node"
  if [[ $(</proc/sys/kernel/hostname) != "$node" ]]; then
    echo "$node" >/etc/hostname
    hostname "$node"
  fi
  grep --quiet --line-regexp "127.0.1.1 $node" /etc/hosts || echo "127.0.1.1 $node" >>/etc/hosts
}

set_up_kernel() {
  step 'setting up the kernel'
  put /etc/modules-load.d/kubernetes.conf 0644 <<CONF
overlay
br_netfilter
CONF
  load overlay grep --quiet --word-regexp overlay /proc/filesystems
  load br_netfilter test -e /proc/sys/net/bridge
  # The second half is what the kubelet requires with protectKernelDefaults.
  put /etc/sysctl.d/99-kubernetes.conf 0644 <<CONF
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1

vm.overcommit_memory = 1
vm.panic_on_oom = 0
kernel.panic = 10
kernel.panic_on_oops = 1
kernel.keys.root_maxkeys = 1000000
kernel.keys.root_maxbytes = 25000000
CONF
  sysctl --quiet --load=/etc/sysctl.d/99-kubernetes.conf
  if [[ -n $(swapon --show --noheadings) ]]; then
    swapoff --all
  fi
  if grep --quiet --no-messages --extended-regexp '^[^#].*\sswap\s' /etc/fstab; then
    sed --in-place --regexp-extended 's/^[^#].*\sswap\s/#&/' /etc/fstab
  fi
}

# load MODULE TEST…: loads a kernel module unless TEST, a command, says that it is loaded or built in.
load() {
  "${@:2}" || modprobe "$1" || die "the kernel of $node has no module $1; use an image whose kernel has it"
}

installed() { # PACKAGE VERSION, which may end in *
  local found
  # shellcheck disable=SC2016 # dpkg's variables
  found=$(dpkg-query --show --showformat='${db:Status-Status} ${Version}' "$1" 2>/dev/null) || return 1
  # shellcheck disable=SC2053 # a pattern
  [[ $found == "installed "$2 ]]
}

missing() { # PACKAGE=VERSION…
  local package
  for package; do
    installed "${package%%=*}" "${package#*=}" || echo "$package"
  done
}

# install_missing PACKAGE=VERSION…: installs the packages that are not installed. If dpkg was killed before, apt fails
# until `dpkg --configure` has completed its work. Without --error-on, apt reports success for an index that it could
# not download.
# shellcheck disable=SC2317 # patiently calls it
install_missing() {
  local needed
  mapfile -t needed < <(missing "$@")
  ((${#needed[@]} == 0)) || {
    dpkg --force-confold --configure -a && "${APT[@]}" update --error-on=any && apt_install "${needed[@]}"
  }
}

# shellcheck disable=SC2317 # patiently calls what calls it
apt_install() { # [ARG…] PACKAGE=VERSION…
  "${APT[@]}" install --no-install-recommends --allow-change-held-packages --allow-downgrades "$@"
}

# shellcheck disable=SC2317 # patiently calls it
download_packages() { "${APT[@]}" update --error-on=any && apt_install --download-only "$@"; }

# shellcheck disable=SC2317 # patiently calls it
install_and_hold() { install_missing "$@" && apt-mark hold "${@%%=*}"; }

# update_machine: installs the updates of all packages that are not held.
# shellcheck disable=SC2317 # patiently calls it
update_machine() { "${APT[@]}" update --error-on=any && "${APT[@]}" upgrade --with-new-pkgs; }

# patiently WHAT COMMAND…: retries the command for ten minutes, and logs why it must wait. A new machine installs
# updates by itself, and apt fails at once while another process holds one of its locks: that of dpkg, of the package
# lists, or of the archives.
patiently() {
  local what=$1 deadline=$((SECONDS + 600)) reason said=''
  shift
  until "$@" </dev/null >"$SCRATCH/output" 2>&1; do
    if ((SECONDS >= deadline)) || grep --quiet --extended-regexp "$NO_SUCH_PACKAGE|$BAD_SIGNATURE" "$SCRATCH/output"; then
      tail -n 40 "$SCRATCH/output" >&2
      ! grep --quiet --extended-regexp "$BAD_SIGNATURE" "$SCRATCH/output" || refuse_signature
      die "$what failed; the lines above say why"
    fi
    reason=$(grep --extended-regexp --max-count=1 '^(E:|dpkg: error)' "$SCRATCH/output") || reason='no reason given'
    [[ $reason == "$said" ]] || step "$what has to wait: $reason"
    said=$reason
    sleep 3
  done
}

refuse_signature() {
  die "apt on $node does not accept the signature of a package repository; the lines above name the repository and the key that signed it. The pinned keys are $kubernetes_key for pkgs.k8s.io and $docker_key for download.docker.com. If your mirror signs it with a key of its own, set eco2:mirror.keys; if upstream has announced a new key, pin that in config/versions.go"
}

install_packages() {
  # shellcheck source=/dev/null
  source /etc/os-release
  local minor=${kubernetes_version%.*}
  # The revision after the version is upstream's packaging revision. Any will do; apt installs the newest.
  local packages=(
    "containerd.io=$containerd_version-*~$ID.$VERSION_ID~$VERSION_CODENAME"
    "kubelet=$kubernetes_version-*" "kubeadm=$kubernetes_version-*" "kubectl=$kubernetes_version-*"
    # kubeadm uses crictl and no longer depends on it.
    "cri-tools=$minor.*"
  )
  local needed
  mapfile -t needed < <(missing "${packages[@]}")
  if ((${#needed[@]} > 0)); then
    add_repositories "$minor"
  fi
  if joined && [[ $upgrade == none ]]; then
    ((${#needed[@]} == 0)) || {
      step "$node has joined the cluster: downloading $(enumerate < <(printf '%s\n' "${needed[@]}")) for its upgrade"
      patiently "downloading packages on $node" download_packages "${needed[@]}"
    }
    return
  fi
  if [[ $upgrade == kubeadm ]]; then
    packages=("kubeadm=$kubernetes_version-*" "cri-tools=$minor.*")
  fi
  ((${#needed[@]} == 0)) || step "installing containerd $containerd_version and Kubernetes $kubernetes_version"
  patiently "installing packages on $node" install_and_hold "${packages[@]}"
  if [[ $upgrade == machine ]]; then
    step "installing the updates of $node"
    patiently "installing the updates of $node" update_machine
  fi
  [[ $(kubeadm version --output=short) == "v$kubernetes_version" ]] ||
    die "$(command -v kubeadm) on $node is not version $kubernetes_version; remove it, so that the package's is used"
}

add_repositories() { # MINOR
  command -v curl >/dev/null || patiently "installing curl on $node" install_missing 'curl=*' 'ca-certificates=*'
  local kubernetes docker
  kubernetes=https://pkgs.k8s.io/core:/stable:/v$1/deb
  docker=https://download.docker.com/linux/$ID
  add_repository kubernetes "$kubernetes_key" "$kubernetes/Release.key" "$kubernetes/" /
  add_repository docker "$docker_key" "$docker/gpg" "$docker" "$VERSION_CODENAME stable"
}

# add_repository NAME FINGERPRINT KEY-URL URL SUITE: adds a package repository. The key is downloaded each time, because
# upstream's keys expire and are renewed. apt accepts signatures of the key with the fingerprint only, whatever else is
# in the downloaded file.
add_repository() {
  local keyring=/etc/apt/keyrings/$1.asc
  fetch "$3" "$SCRATCH/$1.asc"
  put "$keyring" 0644 <"$SCRATCH/$1.asc"
  put "/etc/apt/sources.list.d/$1.list" 0644 <<<"deb [signed-by=$keyring,$2] $(upstream "$4") $5"
}

# is_older UNIT FILE: whether the unit was started before the file was written. It compares times, because an earlier
# run may have been interrupted between writing the file and restarting the unit.
is_older() {
  local since
  since=$(systemctl show --property=ExecMainStartTimestamp --value --timestamp=us+utc "$1")
  touch --date="$since" "$SCRATCH/since"
  [[ $2 -nt $SCRATCH/since ]]
}

# is_replaced UNIT: whether the program that the unit runs is no longer the installed one. Not every package restarts
# what it replaces.
is_replaced() {
  [[ $(readlink "/proc/$(systemctl show --property=MainPID --value "$1")/exe") == *' (deleted)' ]]
}

configure_containerd() {
  step 'configuring containerd'
  local mirror=/etc/containerd/certs.d/_default/hosts.toml
  put /etc/containerd/config.toml 0644 <<TOML
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "registry.k8s.io/pause:$pause_version"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
TOML
  systemctl enable --now --quiet containerd kubelet
  if is_older containerd /etc/containerd/config.toml || is_replaced containerd; then
    systemctl restart containerd
  fi
  if [[ -n $images_mirror ]]; then
    # containerd asks this mirror first for every registry; the request's query names the registry.
    put $mirror 0644 <<TOML
[host."$images_mirror"]
  capabilities = ["pull", "resolve"]
TOML
  else
    rm -f $mirror
  fi
  put /etc/crictl.yaml 0644 <<YAML
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
timeout: 10
YAML
  quietly "waiting for containerd on $node" retry 60 crictl info
}

# Only root may read how the kubelet is started and configured. kubeadm writes the configuration for everyone at each
# join and upgrade, before it starts the kubelet.
restrict_kubelet_files() {
  local file
  put /etc/systemd/system/kubelet.service.d/20-eco2.conf 0600 <<UNIT
[Service]
ExecStartPre=-/usr/bin/chmod --silent 0600 /var/lib/kubelet/config.yaml
UNIT
  for file in {/usr,}/lib/systemd/system/kubelet.service{,.d/10-kubeadm.conf} /var/lib/kubelet/config.yaml; do
    [[ ! -e $file ]] || chmod 0600 "$file"
  done
  systemctl daemon-reload
}

main() {
  # shellcheck disable=SC2034 # files_mirror: upstream reads it
  local node kubernetes_version containerd_version pause_version kubernetes_key docker_key files_mirror images_mirror upgrade=none
  flags node kubernetes-version containerd-version pause-version kubernetes-key docker-key files-mirror images-mirror upgrade -- "$@"
  acquire_lock prepare
  await_cloud_init
  name_host
  set_up_kernel
  install_packages
  restrict_kubelet_files
  configure_containerd
  step "$node is prepared"
}

main "$@"; exit
