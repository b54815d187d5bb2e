# shellcheck shell=bash
#
# The first step of destroying the cluster. The load balancers and volumes that
# controllers inside the cluster created in AWS are not in Pulumi's state, and would
# block the deletion of the VPC or outlive it. So this script deletes the Kubernetes
# objects that they belong to while the controllers still run, logs each, and waits
# until the controllers have deleted them, and the DNS records too.
#
# Flags: --timeout SECONDS for everything together.

set -euo pipefail

# The time limit of one kubectl in seconds: one slow response must not use up the time for everything.
export KUBECTL_LIMIT=15
# The grace period of pods with volumes in seconds. It may be short, because their data is deleted with the volume
# anyway.
readonly GRACE=5
readonly WAY_OUT="see docs/operations.md, 'Destroy is blocked'"

# CRDs of operators that would recreate the workloads which use volumes.
readonly OPERATED='^customresourcedefinition.apiextensions.k8s.io/((rabbitmqclusters\.rabbitmq\.com)|(redis[a-z]*\.redis\.redis\.opstreelabs\.in)|((prometheuses|alertmanagers)\.monitoring\.coreos\.com))$'

# The next five functions print one line per object: namespace, name and, if the object is being
# deleted, since when.
readonly LINE='{.metadata.namespace} {.metadata.name} {.metadata.deletionTimestamp}'
readonly CLAIMS='{.volumes[*].persistentVolumeClaim.claimName}'

list() { each_object "$1" "${2:-$LINE}" "${3:-*}"; } # KIND [PER-ITEM [FILTER]]
load_balancers() { list services "$LINE" '?(@.spec.type=="LoadBalancer")'; }
# A pod that is being deleted with a longer grace period, because its owner was scaled down or deleted, is printed as
# not yet deleted.
pods_with_volumes() {
  list pods "$LINE|{.metadata.deletionGracePeriodSeconds}|${CLAIMS/./.spec.}" |
    awk -F'|' -v grace="$GRACE" '$3 { split($1, is, " "); print is[1], is[2], $2 != "" && $2 <= grace ? is[3] : "" }'
}
workloads_with_volumes() { # KIND
  list "$1" "$LINE|{.spec.replicas}|{.spec.volumeClaimTemplates[*].metadata.name}${CLAIMS/./.spec.template.spec.}" |
    awk -F'|' '$2 && $3 { print $1 }'
}
# Volumes that are deleted with their claims. They have no namespace.
volumes() {
  list persistentvolumes '- {.metadata.name}' '?(@.spec.persistentVolumeReclaimPolicy=="Delete")'
}

# The next three functions read such lines.
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
    step "stopping $workload, so that it does not recreate what is deleted"
    kubectl --namespace=argocd scale "$workload" --replicas=0 >/dev/null
  done
  kubectl --namespace=argocd wait --for=delete --timeout=10s pod \
    --selector=app.kubernetes.io/name=argocd-application-controller >/dev/null 2>&1 || true
}

# delete_causes: deletes the objects to which load balancers and volumes belong, and the pods that use the volumes.
delete_causes() {
  local crd
  # Pods that terminate slowly would use their volumes for longer than this script waits. So the pods are deleted first,
  # with a short grace period: scaling down deletes them with their own grace period, and once the kubelet is running a
  # preStop hook it ignores a shorter one. They are not created again, because their owners are scaled down or deleted
  # right after.
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

# remaining: prints what still exists. If the API does not respond it fails instead of printing too little.
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
    die "the cluster's API does not answer, so the load balancers and volumes that it created in AWS cannot be deleted through it; $WAY_OUT"
  names=$(dns_names) || names=
  stop_argocd
  # If something cannot be deleted now, the loop below tries again, and names it if it stays.
  delete_causes || true
  until left=$(remaining | enumerate) && [[ -z $left ]]; do
    ((SECONDS < timeout)) ||
      die "after ${timeout}s this is still there: ${left:-unknown, as the API no longer answers}; $WAY_OUT"
    step "waiting for ${left:-the API}"
    sleep 3
    delete_causes || true
  done
  ((${names:-0} == 0)) || await_dns_cleanup "$SECONDS"
  step 'nothing that the cluster made in AWS is left'
}

main "$@"; exit
