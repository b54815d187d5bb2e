# shellcheck shell=bash
#
# The library that all scripts of the cluster share. It is prepended to each of them.
#
# On the control plane the scripts are installed as files. The script that installs
# them is sent on the standard input of `bash -s`: this library, the script and its
# data, in this order. Bash reads no further than the command that it executes, so
# main can read the data; nothing that runs before main may read standard input.
#
# Progress and errors are written to standard error, a script's result to standard
# output.

set -euo pipefail
export LC_ALL=C.UTF-8

# The directory for temporary files: in memory, readable by root only, deleted when the script exits.
SCRATCH=$(mktemp --directory /run/eco2.XXXXXX)
cleanup() {
  [[ -z ${SSH_AGENT_PID:-} ]] || ssh-agent -k >/dev/null
  rm -rf "$SCRATCH"
}
trap cleanup EXIT

step() { printf '[%ss] %s\n' "$SECONDS" "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# enumerate: joins lines to one line for a message, "a, b, c".
enumerate() { paste --serial --delimiters=, | sed 's/,/, /g'; }

# flags NAME… -- ARG…: parses the arguments and sets a variable for each flag
# (--pod-cidr sets pod_cidr). Every flag is required, though its value may be empty,
# unless its variable already has a value.
flags() {
  local _missing=' ' _flag
  while [[ $1 != -- ]]; do
    _missing+="$1 "
    shift
  done
  shift
  while (($#)); do
    _flag=${1#--}
    [[ $1 == --* && $_missing == *" $_flag "* ]] || die "unexpected argument $1; still expected:${_missing% }"
    (($# > 1)) || die "$1 needs a value"
    _missing=${_missing/ $_flag / }
    printf -v "${_flag//-/_}" '%s' "$2"
    shift 2
  done
  for _flag in $_missing; do
    [[ ! -v ${_flag//-/_} ]] || _missing=${_missing/ $_flag / }
  done
  [[ $_missing == ' ' ]] || die "missing flags:${_missing% }"
}

# split_arguments WHOSE ARG…: sets the caller's arrays own and passed_on to the arguments before and after --. WHOSE names
# the script that gets the latter.
# shellcheck disable=SC2034 # the caller's
split_arguments() {
  local whose=$1
  shift
  while (($#)) && [[ $1 != -- ]]; do
    own+=("$1")
    shift
  done
  (($#)) || die "the arguments of $whose must follow --"
  passed_on=("${@:2}")
}

# acquire_lock WORK: waits until no other run of the same work is in progress on this
# machine, and holds a lock until the script exits. A run whose connection broke
# continues for a while, and the next run must not interfere with it.
acquire_lock() {
  exec 9>"/run/lock/eco2-$1"
  flock --nonblock 9 && return
  step "waiting until an earlier run of $1, whose connection broke, has finished"
  flock --timeout 600 9 ||
    die "an earlier run of $1 has not finished within ten minutes; see what it is doing with 'fuser -v /run/lock/eco2-$1'"
}

# retry SECONDS COMMAND…: repeats the command until it succeeds, and fails after SECONDS.
retry() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 2
  done
}

# quietly WHAT COMMAND…: runs the command, and shows the end of its output only if it fails.
quietly() {
  local what=$1
  shift
  "$@" </dev/null >"$SCRATCH/output" 2>&1 && return
  tail -n 40 "$SCRATCH/output" >&2
  die "$what failed; the lines above say why"
}

# put FILE MODE: writes standard input to FILE. If the content is the same, the file keeps its modification time.
put() {
  mkdir -p "$(dirname "$1")"
  cat >"$SCRATCH/put"
  cmp --silent "$SCRATCH/put" "$1" && return
  # Written under another name first, so that no reader sees half a file.
  install --mode="$2" "$SCRATCH/put" "$1.new"
  mv "$1.new" "$1"
}

# split_files DIR: writes the files on standard input, each after a line `=== NAME ===`, to the new directory DIR.
split_files() {
  mkdir "$1"
  awk -v dir="$1" '/^=== [a-z-]+\.(sh|yaml) ===$/ { file = dir "/" $2; next } !file { exit 1 } { print > file }' ||
    die 'standard input does not begin with a line === NAME ==='
}

# upstream URL: prints the URL to download from. A mirror serves https://host/path at /host/path.
upstream() {
  if [[ -n ${files_mirror:-} ]]; then
    echo "${files_mirror%/}/${1#https://}"
  else
    echo "$1"
  fi
}

fetch() { # URL FILE
  local url
  url=$(upstream "$1")
  curl --fail --silent --show-error --location --connect-timeout 10 --max-time 300 \
    --retry 5 --retry-all-errors --output "$2" "$url" </dev/null ||
    die "cannot download $url; check that this machine reaches it"
}

download() { # URL SHA256 FILE
  fetch "$1" "$3"
  echo "$2  $3" | sha256sum --check --status ||
    die "$1 does not have the pinned checksum $2; if the new content is intended, pin its checksum with the version"
}

# The directory in which install.sh installs the scripts on the control plane.
# shellcheck disable=SC2034 # scripts read it
readonly SCRIPTS=/usr/local/lib/eco2
# The host keys of the workers: one file per node, named after it.
readonly KNOWN_HOSTS=/root/.ssh/eco2_known_hosts

# start_agent: starts an SSH agent with the workers' private key, read from standard input. It removes empty lines
# before the key, which ssh-add does not accept.
start_agent() { # [SECONDS]
  # Descriptor 9, the lock, is closed for the agent: if the agent outlived this script, it would keep holding the lock.
  eval "$(ssh-agent -s -t "${1:-1800}" -a "$SCRATCH/agent" 9>&-)" >/dev/null
  sed '/./,$!d' | ssh-add -q - 2>/dev/null || die 'standard input holds no private SSH key that works without a passphrase'
  install --directory --mode=0700 "$(dirname "$KNOWN_HOSTS")" "$KNOWN_HOSTS"
}

# remote [ARG…]: runs the script on standard input as root on a worker. The caller's variables node, address, host_key,
# user and provider_id specify the worker. host_key is empty for a machine that made its own key; that key is stored at
# the first connection and required afterwards. Keys are stored under the machine's id, so that a new machine at an old
# address counts as another host, and in one file per node, because many are reached at the same time.
# shellcheck disable=SC2154 # the caller's
remote() {
  local machine=${provider_id##*/} unknown=accept-new
  if [[ -n $host_key ]]; then
    unknown=yes
    put "$KNOWN_HOSTS/$node" 0600 <<<"$machine $host_key"
  fi
  ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o LogLevel=ERROR \
    -o StrictHostKeyChecking=$unknown -o UserKnownHostsFile="$KNOWN_HOSTS/$node" -o HostKeyAlias="$machine" \
    "$user@$address" sudo -n bash -s -- "${@@Q}"
}

# no_login: fails with the reason why remote could not log in, which ssh has written to $SCRATCH/ssh.
no_login() {
  local reason
  reason=$(tail -n 1 "$SCRATCH/ssh")
  if [[ $reason == 'Host key verification failed.' ]]; then
    reason='the machine that answers there has another SSH host key, so nothing was sent to it; see docs/operations.md, "A machine with another host key"'
  fi
  die "cannot log in to $node as $user over SSH at $address: $reason"
}

# kubectl with the administrator's credentials and a time limit.
kubectl() {
  KUBECONFIG=/etc/kubernetes/admin.conf timeout "${KUBECTL_LIMIT:-600}" kubectl "$@"
}

api_ready() { KUBECTL_LIMIT=10 kubectl get --raw=/readyz >/dev/null 2>&1; }

# stop_component NAME: stops a component of the control plane. The kubelet, if it runs, starts it again.
stop_component() {
  local pods
  pods=$(crictl pods --namespace=kube-system --label="component=$1" --state=ready --quiet)
  # shellcheck disable=SC2086 # several IDs
  [[ -z $pods ]] || quietly "stopping $1" crictl stopp $pods
}

# established CRD…: a CRD that was just created may have no conditions yet, for which kubectl fails at once instead of
# waiting.
established() { kubectl wait --for=condition=Established --timeout=60s "$@" >/dev/null 2>&1; }

# apply FILE [ARG…]: applies a file as the only owner of all fields in it, and returns once its CRDs are served.
apply() {
  local applied crds
  applied=$(kubectl apply --server-side --force-conflicts --field-manager=eco2 --output=name -f "$@")
  mapfile -t crds < <(grep '^customresourcedefinition' <<<"$applied")
  ((${#crds[@]} == 0)) ||
    retry 60 established "${crds[@]}" ||
    die "the API server does not serve the custom resources of $(basename "$1"); see kubectl describe crd"
}

# The directory that records which machine each node is: one file per node, named after it, with what the program says.
# Only root on the control plane may write to it, so unlike what a node says about itself it can be trusted.
readonly NODES=/etc/eco2/nodes

# The directory where the control plane's volume is mounted, the volume's label, and what is on it at which path.
# shellcheck disable=SC2034 # scripts read them
readonly STATE=/var/lib/eco2 STATE_LABEL=eco2-state
# The file that says that etcd's data is that of a snapshot. state.sh creates it, and init.sh removes it.
# shellcheck disable=SC2034 # scripts read it
readonly RESTORED=$STATE/restored
readonly STATE_DIRS=(etcd:/var/lib/etcd pki:/etc/kubernetes/pki "nodes:$NODES")
# The key that encrypts secrets in etcd. Its original is encryption.yaml on the volume.
# shellcheck disable=SC2034 # scripts read it
readonly ENCRYPTION=/etc/kubernetes/encryption.yaml

# The configuration of kubeadm that has been applied, and the API server's files, which its arguments name.
# shellcheck disable=SC2034 # scripts read it
readonly CONFIG=/etc/kubernetes/kubeadm.yaml
readonly API_SERVER=/etc/kubernetes/api-server API_SERVER_FILES=(admission.yaml audit.yaml authentication.yaml)

install_api_server_files() { # DIR
  local file
  for file in "${API_SERVER_FILES[@]}"; do
    put "$API_SERVER/$file" 0600 <"$1/$file"
  done
}

# If this key is replaced, every secret that was written with it is lost. It is on the volume before anything is
# encrypted with it.
make_encryption_key() {
  [[ -e $STATE/encryption.yaml ]] || new_encryption_key
  put "$ENCRYPTION" 0600 <"$STATE/encryption.yaml"
}

new_encryption_key() {
  step 'making the key that encrypts secrets at rest'
  put "$STATE/encryption.yaml" 0600 <<YAML
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: $(head --bytes=32 /dev/urandom | base64)
  - identity: {}
YAML
}

version_in() { sed --quiet 's/^ *"kubernetesVersion": "v\(.*\)",$/\1/p' "$1"; } # FILE

# check_skew RUNNING WANTED: refuses an upgrade that kubeadm does not support.
check_skew() {
  local running=${1%.*} wanted=${2%.*}
  [[ -n $1 ]] || die "kubeadm has not stored which version the control plane on $node has; see 'kubectl --namespace=kube-system get configmap kubeadm-config'"
  if [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head --lines=1) != "$1" ]]; then
    die "the control plane has Kubernetes $1 and cannot go back to $2; set eco2:versions.kubernetes to $1 or newer"
  fi
  ((${wanted#*.} <= ${running#*.} + 1)) ||
    die "the control plane has Kubernetes $1, and kubeadm upgrades it by one minor version at a time; set eco2:versions.kubernetes to a version of 1.$((${running#*.} + 1)) first, and then to $2"
}

# state_device VOLUME SECONDS: prints the device of an attached EBS volume, and waits for it. Linux numbers NVMe disks in
# the order in which it finds them, so their names say nothing; the link is named after the volume's id. Machines with
# Xen disks have no such links, but call the attachment /dev/sdf always /dev/xvdf.
state_device() {
  local device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${1/-/} deadline=$((SECONDS + $2))
  until [[ -b $device ]]; do
    [[ ! -b /dev/xvdf ]] || { device=/dev/xvdf; break; }
    ((SECONDS < deadline)) || return 1
    sleep 1
  done
  echo "$device"
}

# mount_volume DEVICE: mounts the volume, unless it is mounted.
mount_volume() {
  mkdir -p "$STATE"
  mountpoint --quiet "$STATE" || quietly 'mounting the volume' mount "$1" "$STATE"
}

# mount_state DEVICE: mounts the volume, and its directories where the control plane expects them.
mount_state() {
  local dir name path
  mount_volume "$1"
  for dir in "${STATE_DIRS[@]}"; do
    name=${dir%%:*} path=${dir#*:}
    # etcd refuses a directory that others may read.
    install --directory --mode=0700 "$STATE/$name"
    mkdir -p "$path"
    [[ $path -ef $STATE/$name ]] || quietly "mounting $path" mount --bind "$STATE/$name" "$path"
  done
}

# record NODE ADDRESS PROVIDER-ID HOW: records the machine of a node. HOW is `joined` if a script that records has
# joined the node, or `found` if it was already in the cluster, joined by an earlier version that did not record it.
record() {
  install --directory --mode=0700 "$NODES"
  put "$NODES/$1" 0600 <<<"$2 $3 $4"
}

# recorded NODE: sets recorded_address, recorded_id and recorded_how. It fails if the node is not recorded.
# shellcheck disable=SC2034 # read by scripts
recorded() {
  [[ -f $NODES/$1 ]] && read -r recorded_address recorded_id recorded_how <"$NODES/$1"
}

# reconcile NODE LABELS TAINTS: sets these labels (a=b,…) and taints (a=b:Effect,…)
# on the node, and removes those that an earlier run set. Two annotations store what
# the program has set; all other labels and taints of the node stay unchanged.
reconcile() {
  local node=$1
  step "reconciling labels and taints of $node"
  reconcile_labels "$node" "$2"
  reconcile_taints "$node" "$3"
  remember "$@"
}

# remember NODE LABELS TAINTS: stores which labels and taints the program has set, for the next reconcile.
remember() {
  kubectl annotate --overwrite node "$1" "eco2.io/labels=$2" "eco2.io/taints=$3" >/dev/null
}

reconcile_labels() { # NODE LABELS
  local old label changes=()
  old=$(kubectl get node "$1" --output=jsonpath='{.metadata.annotations.eco2\.io/labels}')
  for label in ${2//,/ }; do
    changes+=("$label")
  done
  for label in ${old//,/ }; do
    [[ ,$2 == *",${label%%=*}="* ]] || changes+=("${label%%=*}-")
  done
  ((${#changes[@]} == 0)) || kubectl label --overwrite node "$1" "${changes[@]}" >/dev/null
}

reconcile_taints() { # NODE TAINTS
  local old present taint wanted=' ' changes=()
  old=$(kubectl get node "$1" --output=jsonpath='{.metadata.annotations.eco2\.io/taints}')
  present=$(kubectl get node "$1" --output=jsonpath='{range .spec.taints[*]} {.key}:{.effect} {end}')
  for taint in ${2//,/ }; do
    changes+=("$taint")
    wanted+="$(taint_id "$taint") "
  done
  for taint in ${old//,/ }; do
    taint=$(taint_id "$taint")
    # kubectl fails when it is to remove a taint that the node does not have.
    [[ $wanted == *" $taint "* || $present != *" $taint "* ]] || changes+=("$taint-")
  done
  ((${#changes[@]} == 0)) || kubectl taint --overwrite node "$1" "${changes[@]}" >/dev/null
}

# taint_id KEY=VALUE:EFFECT: prints what identifies a taint, its key and effect. Its value does not.
taint_id() {
  local key=${1%:*}
  echo "${key%%=*}:${1##*:}"
}

# each_object KIND PER-ITEM [FILTER]: prints a line for each object of a kind in all namespaces. PER-ITEM is the line's
# JSONPath template.
each_object() {
  kubectl get "$1" --all-namespaces --output=jsonpath="{range .items[${3:-*}]}$2{\"\n\"}{end}"
}

# The time in seconds for which a delete waits for external-dns. It cannot check whether the DNS records are gone.
readonly DNS_LIMIT=20
# The metrics of external-dns, through the API server. The Service and its port are those of the chart.
readonly DNS_METRICS=/api/v1/namespaces/platform-system/services/external-dns:7979/proxy/metrics

# dns_names: prints the number of names for which external-dns manages records. It fails if external-dns does not run or
# cannot be reached.
dns_names() {
  kubectl get --raw="$DNS_METRICS" 2>/dev/null | awk '$1 == "external_dns_source_endpoints_total" { print int($2) }'
}

# await_dns_cleanup START: waits until external-dns has deleted the records of deleted Ingresses, at most DNS_LIMIT
# seconds after START. external-dns must not be deleted before that.
await_dns_cleanup() {
  local names
  until names=$(dns_names) && [[ $names == 0 ]]; do
    ((SECONDS < $1 + DNS_LIMIT)) || {
      step "note: external-dns has not deleted its records within ${DNS_LIMIT}s; some may be left, see docs/operations.md, 'Finding leftovers'"
      return
    }
    sleep 1
  done
  sleep 2 # for the call to Route 53, which follows the change of that number
  step 'external-dns has deleted its records'
}
