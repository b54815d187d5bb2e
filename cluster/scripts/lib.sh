# shellcheck shell=bash
#
# What all scripts of the cluster share. It is put before each of them.
#
# The control plane has the scripts as files. What has to install them there comes
# down the standard input of `bash -s`: this, the script and its data, in this
# order. Bash reads no further than the command it executes, so main may read the
# data: nothing that runs before that may touch standard input.
#
# Progress and errors go to standard error. Standard output is a script's result.

set -euo pipefail
export LC_ALL=C.UTF-8

# Files that live no longer than the script: in memory, and root's alone.
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

# Makes of lines one, for a sentence.
enumerate() { paste --serial --delimiters=, | sed 's/,/, /g'; }

# flags NAME… -- ARG…: sets the variable of each flag (--pod-cidr sets pod_cidr).
# A flag must be given, though its value may be empty, unless its variable has a
# value before.
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

# alone WORK: waits until no other run of the same work is under way on this machine,
# and keeps others out until the script ends. A run whose connection broke goes on
# for a while, and its successor must not meet it half-way.
alone() {
  exec 9>"/run/lock/eco2-$1"
  flock --nonblock 9 && return
  step "waiting for an earlier run of $1, which lost its connection, to end"
  flock --timeout 600 9 ||
    die "an earlier run of $1 has not ended in ten minutes; see what it does with 'fuser -v /run/lock/eco2-$1'"
}

# retry SECONDS COMMAND…: until it succeeds, or SECONDS have passed.
retry() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 2
  done
}

# quietly WHAT COMMAND…: shows the end of the command's output only if it fails.
quietly() {
  local what=$1
  shift
  "$@" </dev/null >"$SCRATCH/output" 2>&1 && return
  tail -n 40 "$SCRATCH/output" >&2
  die "$what failed; the lines above say why"
}

# put FILE MODE: makes FILE what standard input holds. One that is so already keeps its time.
put() {
  mkdir -p "$(dirname "$1")"
  cat >"$SCRATCH/put"
  cmp --silent "$SCRATCH/put" "$1" && return
  # First under another name, so that nobody ever reads half a file.
  install --mode="$2" "$SCRATCH/put" "$1.new"
  mv "$1.new" "$1"
}

# upstream URL: where to fetch URL from. A mirror keeps https://host/path at its /host/path.
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
    die "$1 has another checksum than the pinned $2; if the new content is wanted, pin its checksum with the version"
}

# Where install.sh puts the scripts on the control plane.
# shellcheck disable=SC2034 # scripts read it
readonly SCRIPTS=/usr/local/lib/eco2
# The host keys of workers, as the control plane first met them: a file by the node's name.
readonly KNOWN_HOSTS=/root/.ssh/eco2_known_hosts

# start_agent: takes the workers' private key from standard input, without the empty lines before it that ssh-add
# does not forgive.
start_agent() {
  # Without the lock, which an agent that outlives this script would go on holding.
  eval "$(ssh-agent -s -t 1800 -a "$SCRATCH/agent" 9>&-)" >/dev/null
  sed '/./,$!d' | ssh-add -q - 2>/dev/null || die 'standard input holds no private SSH key that works without a passphrase'
  install --directory --mode=0700 "$(dirname "$KNOWN_HOSTS")" "$KNOWN_HOSTS"
}

# remote [ARG…]: runs the script on standard input as root on the worker that the caller's variables node, address, user
# and provider_id say. The key of its host is known by the machine's id, so that a new machine at an old address is
# another host. One file per node, because many are reached at the same time.
remote() {
  # shellcheck disable=SC2154 # the caller's
  ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o LogLevel=ERROR \
    -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile="$KNOWN_HOSTS/$node" -o HostKeyAlias="${provider_id##*/}" \
    "$user@$address" sudo -n bash -s -- "${@@Q}"
}

# kubectl as the administrator, and never for ever.
kubectl() {
  KUBECONFIG=/etc/kubernetes/admin.conf timeout "${KUBECTL_LIMIT:-600}" kubectl "$@"
}

api_ready() { KUBECTL_LIMIT=10 kubectl get --raw=/readyz >/dev/null 2>&1; }

# A definition that was made this moment may have no conditions at all, of which kubectl says an error at once.
established() { kubectl wait --for=condition=Established --timeout=60s "$@" >/dev/null 2>&1; }

# apply FILE [ARG…]: as the one owner of all fields in it; returns once its CRDs are served.
apply() {
  local applied crds
  applied=$(kubectl apply --server-side --force-conflicts --field-manager=eco2 --output=name -f "$@")
  mapfile -t crds < <(grep '^customresourcedefinition' <<<"$applied")
  ((${#crds[@]} == 0)) ||
    retry 60 established "${crds[@]}" ||
    die "the API server does not serve the custom resources of $(basename "$1"); see kubectl describe crd"
}

# Which machine each node is: a file by the node's name, written on the control plane from what the program says.
# Nobody but root may write there, so it holds against what a node says of itself.
readonly NODES=/etc/eco2/nodes

# record NODE ADDRESS PROVIDER-ID HOW: HOW is `joined` by a script that records, or `found` in the cluster, where an
# older one had put it.
record() {
  install --directory --mode=0700 "$NODES"
  put "$NODES/$1" 0600 <<<"$2 $3 $4"
}

# recorded NODE: sets recorded_address, recorded_id and recorded_how; fails for a node that is not recorded.
# shellcheck disable=SC2034 # read by scripts
recorded() {
  [[ -f $NODES/$1 ]] && read -r recorded_address recorded_id recorded_how <"$NODES/$1"
}

# reconcile NODE LABELS TAINTS: gives the node these labels (a=b,…) and taints
# (a=b:Effect,…), and takes away those that an earlier run gave it. Two
# annotations remember what is ours; everything else on the node is left alone.
reconcile() {
  local node=$1
  step "reconciling labels and taints of $node"
  reconcile_labels "$node" "$2"
  reconcile_taints "$node" "$3"
  remember "$@"
}

# remember NODE LABELS TAINTS: that the node has these from us, for the next reconcile.
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
    # kubectl refuses to take away a taint that is not there.
    [[ $wanted == *" $taint "* || $present != *" $taint "* ]] || changes+=("$taint-")
  done
  ((${#changes[@]} == 0)) || kubectl taint --overwrite node "$1" "${changes[@]}" >/dev/null
}

# taint_id KEY=VALUE:EFFECT: a taint's key and effect identify it, its value does not.
taint_id() {
  local key=${1%:*}
  echo "${key%%=*}:${1##*:}"
}

# each_object KIND PER-ITEM [FILTER]: a line for each object of a kind, in all namespaces.
each_object() {
  kubectl get "$1" --all-namespaces --output=jsonpath="{range .items[${3:-*}]}$2{\"\n\"}{end}"
}

# Seconds that a delete waits for DNS records, of which it cannot know whether they are gone.
readonly DNS_LIMIT=20
# The Service and the port of external-dns' chart, through the API server.
readonly DNS_METRICS=/api/v1/namespaces/platform-system/services/external-dns:7979/proxy/metrics

# How many names external-dns knows of; fails where it does not run or cannot be asked.
dns_names() {
  kubectl get --raw="$DNS_METRICS" 2>/dev/null | awk '$1 == "external_dns_source_endpoints_total" { print int($2) }'
}

# external-dns hears of an Ingress that is gone, and must live to take its records away.
let_dns_follow() {
  local names
  until names=$(dns_names) && [[ $names == 0 ]]; do
    ((SECONDS < $1 + DNS_LIMIT)) || {
      step "note: external-dns has not followed in ${DNS_LIMIT}s; records may be left, see docs/operations.md, 'Finding leftovers'"
      return
    }
    sleep 1
  done
  sleep 2 # its call to Route 53, which comes after that number
  step 'external-dns has taken its records away'
}
