# shellcheck shell=bash
#
# Turns a fresh Ubuntu or Debian machine into one that kubeadm can use: kernel
# settings, containerd, and kubelet, kubeadm and kubectl at exact versions.
# The same for all nodes. On a machine that is as it should be it changes nothing.
#
# Needs --node, --kubernetes-version, --containerd-version and --pause-version,
# and --files-mirror and --images-mirror, both empty where the internet is reachable.
# Machine-specific settings belong in /etc/default/kubelet and /etc/containerd/conf.d,
# which are left alone.

set -euo pipefail
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
readonly APT=(apt-get --assume-yes
  --option DPkg::Lock::Timeout=300 --option Acquire::Retries=3 --option Dpkg::Options::=--force-confold)

await_cloud_init() {
  command -v cloud-init >/dev/null || return 0
  step 'waiting for cloud-init'
  local status=0
  timeout 600 cloud-init status --wait </dev/null >/dev/null 2>&1 || status=$?
  # 2 means that it finished with warnings.
  [[ $status == 0 || $status == 2 ]] ||
    die "cloud-init failed or took over ten minutes on $node; see 'cloud-init status --long' there"
}

# A package upgrade alone leaves a cluster half upgraded.
refuse_upgrade() {
  [[ -e /etc/kubernetes/kubelet.conf ]] || return 0
  local running
  running=$(kubelet --version)
  running=${running##* v}
  [[ $running == "$kubernetes_version" ]] ||
    die "$node runs Kubernetes $running and $kubernetes_version was asked for; a running node is upgraded with 'kubeadm upgrade', see docs/operations.md"
}

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
  put /etc/sysctl.d/99-kubernetes.conf 0644 <<CONF
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
CONF
  sysctl --quiet --load=/etc/sysctl.d/99-kubernetes.conf
  if [[ -n $(swapon --show --noheadings) ]]; then
    swapoff --all
  fi
  if grep --quiet --no-messages --extended-regexp '^[^#].*\sswap\s' /etc/fstab; then
    sed --in-place --regexp-extended 's/^[^#].*\sswap\s/#&/' /etc/fstab
  fi
}

# load MODULE TEST…: TEST succeeds where the module is loaded or built in.
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

install_packages() {
  # shellcheck source=/dev/null
  source /etc/os-release
  local minor=${kubernetes_version%.*} package
  local packages=(
    "containerd.io=$containerd_version-1~$ID.$VERSION_ID~$VERSION_CODENAME"
    "kubelet=$kubernetes_version-1.1" "kubeadm=$kubernetes_version-1.1" "kubectl=$kubernetes_version-1.1"
    # kubeadm uses crictl and no longer depends on it.
    "cri-tools=$minor.*"
  )
  for package in "${packages[@]}"; do
    installed "${package%%=*}" "${package#*=}" && continue
    step "installing containerd $containerd_version and Kubernetes $kubernetes_version"
    add_repositories "$minor"
    quietly "reading package lists on $node" retry 300 update_lists
    quietly "installing packages on $node" "${APT[@]}" install --no-install-recommends \
      --allow-change-held-packages --allow-downgrades "${packages[@]}"
    break
  done
  quietly 'holding packages' apt-mark hold "${packages[@]%%=*}"
  [[ $(kubeadm version --output=short) == "v$kubernetes_version" ]] ||
    die "$(command -v kubeadm) on $node is not version $kubernetes_version; remove it, so that the package's is used"
}

# By itself apt takes an index that it could not fetch for a success, and goes on without it.
# shellcheck disable=SC2317 # retry calls it
update_lists() { "${APT[@]}" update --error-on=any; }

add_repositories() { # MINOR
  if ! command -v curl >/dev/null; then
    quietly "reading package lists on $node" retry 300 update_lists
    quietly "installing curl on $node" "${APT[@]}" install --no-install-recommends curl ca-certificates
  fi
  local kubernetes docker
  kubernetes=https://pkgs.k8s.io/core:/stable:/v$1/deb
  docker=https://download.docker.com/linux/$ID
  add_repository kubernetes "$kubernetes/Release.key" "$kubernetes/" /
  add_repository docker "$docker/gpg" "$docker" "$VERSION_CODENAME stable"
}

add_repository() { # NAME KEY-URL URL SUITE
  local keyring=/etc/apt/keyrings/$1.asc
  fetch "$2" "$SCRATCH/$1.asc"
  put "$keyring" 0644 <"$SCRATCH/$1.asc"
  put "/etc/apt/sources.list.d/$1.list" 0644 <<<"deb [signed-by=$keyring] $(upstream "$3") $4"
}

configure_containerd() {
  step 'configuring containerd'
  local mirror=/etc/containerd/certs.d/_default/hosts.toml changed=false
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
  if $changed; then
    systemctl restart containerd
  fi
  systemctl enable --now --quiet containerd kubelet
  if [[ -n $images_mirror ]]; then
    # Asked first, for every registry; the query of a request names the registry.
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

main() {
  # shellcheck disable=SC2034 # files_mirror: upstream reads it
  local node kubernetes_version containerd_version pause_version files_mirror images_mirror
  flags node kubernetes-version containerd-version pause-version files-mirror images-mirror -- "$@"
  alone prepare
  await_cloud_init
  refuse_upgrade
  name_host
  set_up_kernel
  install_packages
  configure_containerd
  step "$node is prepared"
}

main "$@"; exit
