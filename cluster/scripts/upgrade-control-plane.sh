# shellcheck shell=bash
#
# Brings a control plane that exists to the version and the configuration that the
# program wants, if they differ from what it has. kubeadm replaces the manifests of
# etcd, the API server, the controller manager and the scheduler one by one, waits for
# each, and puts the old ones back if one does not come up. A run that was interrupted
# begins again. The kubelets follow in upgrade-nodes.sh.
#
# init.sh runs it. Flags: --node and --files, a directory with kubeadm.yaml and the API
# server's files; then -- and the arguments with which prepare.sh ran on this machine.

set -euo pipefail

readonly API_SERVER_CERTIFICATE=/etc/kubernetes/pki/apiserver.crt
# The marker of files that have changed since the API server started, which reads them only then.
readonly UNREAD=$API_SERVER/.unread

# upgrade_control_plane DIR PREPARE-ARG…
upgrade_control_plane() {
  # kubeadm's own checks start a pod without tolerations, for which there may be no node; check_skew is of its checks the
  # one that matters here.
  local dir=$1 running wanted skip=preflight files manifest
  shift
  running=$(version_in_cluster)
  wanted=$(version_in "$dir/kubeadm.yaml")
  check_skew "$running" "$wanted"
  files=$(changed_api_server_files "$dir")
  if [[ $running == "$wanted" && -z $files && ! -e $UNREAD ]] && is_applied "$dir/kubeadm.yaml"; then
    # Only what kubeadm reads at the creation can differ, such as labels.
    put "$CONFIG" 0600 <"$dir/kubeadm.yaml"
    return
  fi
  if [[ $running == "$wanted" ]]; then
    step "applying the changed configuration to the control plane$files; its API may be away for a minute"
    # The add-ons belong to the version.
    skip+=,addon
  else
    step "upgrading the control plane from Kubernetes $running to $wanted; its API may be away for a minute"
    bash "$SCRIPTS/prepare.sh" "$@" --upgrade kubeadm </dev/null
    quietly 'pulling the images of the control plane' timeout 600 kubeadm config images pull --config "$dir/kubeadm.yaml"
  fi
  [[ -e $ENCRYPTION ]] || make_encryption_key # a control plane that somebody made by hand
  manifest=$(sha256sum /etc/kubernetes/manifests/kube-apiserver.yaml)
  [[ -z $files ]] || touch "$UNREAD"
  install_api_server_files "$dir"
  # kubeadm upgrades to what is in the cluster. It has the old version until that has succeeded.
  sed "s/\"kubernetesVersion\": .*,/\"kubernetesVersion\": \"v$running\",/" "$dir/kubeadm.yaml" >"$SCRATCH/kubeadm.yaml"
  quietly "validating the kubeadm configuration" kubeadm config validate --config "$SCRATCH/kubeadm.yaml"
  if [[ ! -e $CONFIG || $(kubelet_configuration <"$SCRATCH/kubeadm.yaml") != "$(kubelet_configuration <"$CONFIG")" ]]; then
    # For upgrade-nodes.sh.
    kubectl annotate --overwrite nodes --all eco2.io/kubelet-configuration=outdated >/dev/null
  fi
  quietly 'uploading the configuration' kubeadm init phase upload-config all --config "$SCRATCH/kubeadm.yaml"
  renew_names "$dir/kubeadm.yaml"
  quietly 'kubeadm upgrade apply' timeout 1200 kubeadm upgrade apply --yes "v$wanted" --skip-phases="$skip"
  if [[ -e $UNREAD && $(sha256sum /etc/kubernetes/manifests/kube-apiserver.yaml) == "$manifest" ]]; then
    stop_component kube-apiserver # the kubelet starts it again
  fi
  rm -f "$UNREAD"
  retry 180 api_ready || die "the API server on $node does not become ready; see 'crictl ps -a' there"
  put "$CONFIG" 0600 <"$dir/kubeadm.yaml"
  step "the control plane has Kubernetes $wanted and the program's configuration"
}

# version_in_cluster: prints the version of the control plane, as kubeadm stores it at the end of an upgrade.
version_in_cluster() {
  kubectl --namespace=kube-system get configmap kubeadm-config --output='jsonpath={.data.ClusterConfiguration}' |
    sed --quiet 's/^kubernetesVersion: v//p'
}

# changed_api_server_files DIR: prints which of the API server's files are not the installed ones, for a message.
changed_api_server_files() {
  local file
  for file in "${API_SERVER_FILES[@]}"; do
    cmp --silent "$1/$file" "$API_SERVER/$file" || printf ', %s' "$file"
  done
}

# is_applied FILE: whether a configuration differs from the applied one only in its first document, which kubeadm reads
# when it creates a node.
is_applied() { [[ -e $CONFIG && $(sed '1,/^---$/d' "$1") == "$(sed '1,/^---$/d' "$CONFIG")" ]]; }

kubelet_configuration() { sed '1,/^---$/d' | sed '1,/^---$/d'; }

# renew_names FILE: makes the API server's certificate again if it lacks one of the names in certSANs. kubeadm would
# renew it with the names that it has.
renew_names() {
  local name
  while read -r name; do
    openssl x509 -in "$API_SERVER_CERTIFICATE" -noout -ext subjectAltName | grep --quiet --word-regexp --fixed-strings "$name" || {
      step "making the API server's certificate again, for $name too"
      rm -f "${API_SERVER_CERTIFICATE%.crt}".{crt,key}
      quietly "making the API server's certificate" kubeadm init phase certs apiserver --config "$1"
      stop_component kube-apiserver # the kubelet starts it again
      retry 180 api_ready || die "the API server on $node does not become ready; see 'crictl ps -a' there"
      return
    }
  done < <(awk '/"certSANs": \[/ { names = 1; next } /\]/ { names = 0 } names' "$1" | tr --delete ' ",')
}

main() {
  local node files own=() passed_on=()
  split_arguments prepare.sh "$@"
  set -- "${passed_on[@]}"
  flags node files -- "${own[@]}"
  upgrade_control_plane "$files" "$@"
}

main "$@"; exit
