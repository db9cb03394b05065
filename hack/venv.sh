#!/bin/sh
# Makes the Python environment. Usage: PYTHON=python3.12 sh hack/venv.sh .venv
set -eu
venv=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "venv: no interpreter '$python'; install Python 3.11 or newer, or choose one: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "venv: $("$python" --version 2>&1) is too old; Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "venv: '$python' has no venv module; on Debian: apt-get install python3-venv, or choose another: make PYTHON=..." >&2
    exit 1
fi
echo "venv: preparing $venv with $("$python" --version) (a minute or two with an empty cache)"
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
# For the build back end too, by its old name and its new one.
PIP_CONSTRAINT=$(pwd)/constraints.txt
PIP_BUILD_CONSTRAINT=$PIP_CONSTRAINT
export PIP_CONSTRAINT PIP_BUILD_CONSTRAINT
# Editable: what is tested is what is in the tree.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -e packages/common -e packages/ccm -e packages/manager -e e2e -r hack/requirements-dev.txt
touch "$venv/.ready"
echo "venv: ready"
