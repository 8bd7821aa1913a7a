#!/usr/bin/env bash
# Puts DRE into a virtual environment of its own, beside nothing of the project's, and names its interpreter.
# DRE_INPUT_INSTALL: a requirement for pip; empty: this action's own checkout; "none": the dre that is there already.
set -euo pipefail

if [ "${DRE_INPUT_INSTALL:-}" = none ]; then
  command -v dre >/dev/null || { echo "::error title=DRE::install is none, but there is no dre on PATH"; exit 125; }
  echo "dre=$(command -v dre)" >>"$GITHUB_OUTPUT"
  exit 0
fi

python=$(command -v python3 || command -v python) || { echo "::error title=DRE::there is no python3"; exit 125; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "::error title=DRE::DRE needs Python 3.10 or newer; use actions/setup-python before it"; exit 125; }

actions=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(dirname "$actions")
requirement=${DRE_INPUT_INSTALL:-$source}
key=$(printf '%s\n' "$requirement" "$("$python" -VV)" | cat - "$actions/requirements.txt" | "$python" -c \
  'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
venv="${RUNNER_TEMP:-/tmp}/dre-install-$key"

if [ ! -e "$venv/ready" ]; then
  echo "::group::Install DRE"
  "$python" -m venv --clear "$venv"
  # What DRE needs is pinned with digests; DRE itself is what was asked for.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$actions/requirements.txt"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$requirement"
  touch "$venv/ready"
  echo "::endgroup::"
fi
echo "dre=$venv/bin/dre" >>"$GITHUB_OUTPUT"
