# shellcheck shell=bash
#
# The first step of destroying the cluster. What controllers inside it made in
# AWS, load balancers and volumes, is in no state of ours, and blocks or outlives
# the VPC. So this deletes the objects that asked for it while their controllers
# live, names each, and waits until the controllers have let go: of DNS records too.
#
# Needs --timeout SECONDS for all of it.

set -euo pipefail

# One slow answer must not use up the time for everything.
export KUBECTL_LIMIT=15
# Seconds that a pod gets to end: what it keeps on its volume goes with the volume.
readonly GRACE=5
readonly WAY_OUT="see docs/operations.md, 'Destroy is blocked'"

# Operators that would bring back the workloads which hold volumes.
readonly OPERATED='^customresourcedefinition.apiextensions.k8s.io/((rabbitmqclusters\.rabbitmq\.com)|(redis[a-z]*\.redis\.redis\.opstreelabs\.in)|((prometheuses|alertmanagers)\.monitoring\.coreos\.com))$'

# What these five print is a line each: namespace, name and, once somebody has
# deleted the object, since when.
readonly LINE='{.metadata.namespace} {.metadata.name} {.metadata.deletionTimestamp}'
readonly CLAIMS='{.volumes[*].persistentVolumeClaim.claimName}'

list() { each_object "$1" "${2:-$LINE}" "${3:-*}"; } # KIND [PER-ITEM [FILTER]]
load_balancers() { list services "$LINE" '?(@.spec.type=="LoadBalancer")'; }
# One that ends because its owner was scaled down or deleted does so in its own time, and counts as not yet deleted.
pods_with_volumes() {
  list pods "$LINE|{.metadata.deletionGracePeriodSeconds}|${CLAIMS/./.spec.}" |
    awk -F'|' -v grace="$GRACE" '$3 { split($1, is, " "); print is[1], is[2], $2 != "" && $2 <= grace ? is[3] : "" }'
}
workloads_with_volumes() { # KIND
  list "$1" "$LINE|{.spec.replicas}|{.spec.volumeClaimTemplates[*].metadata.name}${CLAIMS/./.spec.template.spec.}" |
    awk -F'|' '$2 && $3 { print $1 }'
}
# Volumes that go with their claims. They have no namespace.
volumes() {
  list persistentvolumes '- {.metadata.name}' '?(@.spec.persistentVolumeReclaimPolicy=="Delete")'
}

# These three read such lines.
delete_each() { # KIND [ARG…]
  local kind=$1 namespace name since
  shift
  while read -r namespace name since; do
    [[ -z $since ]] || continue
    step "deleting $kind $namespace/$name"
    kubectl --namespace="$namespace" delete "$kind" "$name" --ignore-not-found --wait=false "$@" </dev/null >/dev/null
  done
}
scale_down_each() { # KIND
  local namespace name
  while read -r namespace name _; do
    step "scaling $1 $namespace/$name to nothing"
    kubectl --namespace="$namespace" scale "$1" "$name" --replicas=0 </dev/null >/dev/null
  done
}
name_each() { # KIND
  awk -v kind="$1" '{ print kind " " ($1 == "-" ? "" : $1 "/") $2 }'
}

stop_argocd() {
  local workloads workload
  workloads=$(kubectl --namespace=argocd get --ignore-not-found --output=name \
    statefulset/argocd-application-controller deployment/argocd-applicationset-controller)
  for workload in $workloads; do
    step "stopping $workload, so that it brings nothing back"
    kubectl --namespace=argocd scale "$workload" --replicas=0 >/dev/null
  done
  kubectl --namespace=argocd wait --for=delete --timeout=10s pod \
    --selector=app.kubernetes.io/name=argocd-application-controller >/dev/null 2>&1 || true
}

# What made load balancers and volumes, and what holds on to it.
delete_causes() {
  local crd
  # Pods that take their time to end hold their volumes longer than we wait. We are the first to end them: what is
  # scaled down gives its pods the time that they want, and a kubelet that waits for a pod's last hook hears of no
  # less. They are not made again, as their owners follow at once.
  pods_with_volumes | delete_each pod --grace-period="$GRACE"
  workloads_with_volumes statefulset | scale_down_each statefulset
  workloads_with_volumes deployment | scale_down_each deployment
  for crd in $(kubectl get customresourcedefinitions --output=name | grep --extended-regexp "$OPERATED"); do
    list "${crd#*/}" | delete_each "${crd#*/}"
  done
  list ingresses.networking.k8s.io | delete_each ingress
  load_balancers | delete_each service
  list persistentvolumeclaims | delete_each persistentvolumeclaim
}

# Fails, rather than print too little, when the API does not answer.
remaining() {
  list ingresses.networking.k8s.io | name_each ingress &&
    load_balancers | name_each service &&
    list persistentvolumeclaims | name_each persistentvolumeclaim &&
    volumes | name_each persistentvolume
}

main() {
  local timeout left names
  flags timeout -- "$@"
  retry 10 api_ready ||
    die "the cluster's API does not answer, so what it made in AWS (load balancers, volumes) cannot be deleted through it; $WAY_OUT"
  names=$(dns_names) || names=
  stop_argocd
  # What cannot be deleted now is tried again, and named if it stays.
  delete_causes || true
  until left=$(remaining | enumerate) && [[ -z $left ]]; do
    ((SECONDS < timeout)) ||
      die "after ${timeout}s this is still there: ${left:-unknown, as the API no longer answers}; $WAY_OUT"
    step "waiting for ${left:-the API}"
    sleep 3
    delete_causes || true
  done
  ((${names:-0} == 0)) || let_dns_follow "$SECONDS"
  step 'nothing that the cluster made in AWS is left'
}

main "$@"; exit
