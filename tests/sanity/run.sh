#!/usr/bin/env bash
# ansible-test sanity over a copy of the checkout: it wants a real path …/ansible_collections/ninepaths/kubernetes. No docker.
#   tests/sanity/run.sh [further options of `ansible-test sanity`, for instance --test validate-modules]
# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python_version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Each test has its own virtual environment, for which ansible-test downloads pip; Python brings one along.
pip_version=$(python3 - <<'PYTHON'
import re
from pathlib import Path
import ansible_test
source = (Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py").read_text(encoding="utf-8")
print(re.search(r"pip='([0-9.]+)'", source).group(1).replace(".", "_"))
PYTHON
)
stand_in="$HOME/.ansible/test/cache/get_pip_$pip_version.py"
if [[ ! -e $stand_in ]]; then
  mkdir -p "$(dirname "$stand_in")"
  printf 'import ensurepip\nensurepip._main(["--default-pip"])\n' >"$stand_in"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
collection="$work/ansible_collections/ninepaths/kubernetes"
mkdir -p "$collection"
# The collection itself; our tests are linted elsewhere.
tar -C "$root" --exclude=./.git --exclude='./.testbed*' --exclude=./.venv --exclude=./build --exclude=./collections --exclude=./.molecule \
  --exclude=./ninepaths-report --exclude='__pycache__' --exclude='.*_cache' --exclude=./.hypothesis --exclude=./tests/[!s]* --exclude=./tools \
  -cf - . | tar -C "$collection" -xf -
cd "$collection"
unset ANSIBLE_COLLECTIONS_PATH
ansible-test sanity --local --python "$python_version" --color no "$@"
