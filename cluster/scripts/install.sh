# shellcheck shell=bash
#
# Installs the scripts in one directory on the control plane, each with the library
# prepended. A change of a script is then one change in a preview: the thirteen
# commands that run it show only a different hash, and the state contains its text
# once.
#
# Standard input: the library and the scripts, each after a line `=== NAME ===`. They
# replace everything that was installed before.

set -euo pipefail

main() {
  acquire_lock install
  split_files "$SCRATCH/scripts"
  # A command that runs at the same time sees either the old or the new file, never half of one.
  mkdir -p "$SCRIPTS"
  mv "$SCRATCH/scripts/lib.sh" "$SCRATCH/lib.sh"
  local file name
  for file in "$SCRATCH"/scripts/*; do
    name=$(basename "$file")
    cat "$SCRATCH/lib.sh" "$file" | put "$SCRIPTS/$name" 0755
  done
  for file in "$SCRIPTS"/*; do
    name=$(basename "$file")
    [[ -e $SCRATCH/scripts/$name ]] || rm "$file"
  done
  step "the scripts are in $SCRIPTS"
}

main "$@"; exit
