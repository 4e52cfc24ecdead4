#!/usr/bin/env bash
# Make the virtual environment $2 with the interpreter $1 and install this checkout with everything
# its demo and tests need.
set -euo pipefail
python=$1 venv=$2

"$python" - <<'PY' || exit 1
import platform, sys
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        f"The demo and the tests run a server whose Python backend needs Python 3.10 to 3.12; this is "
        f"{platform.python_version()}. Name another one: make PYTHON=python3.12 ..."
    )
if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    sys.exit("The server from PyPI is built for Linux on x86-64 only.")
PY

python=$("$python" -c 'import sys; print(sys.executable)')  # past the shims of version managers
echo "installing into $venv (PyTorch is large: about a minute on a fast line)"
if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing --python "$python" "$venv"
    # As pip does: PyTorch's sources take 10 s to compile, and where PYTHONDONTWRITEBYTECODE is set,
    # as in many images, every process would do that anew.
    uv pip install --quiet --compile-bytecode --python "$venv/bin/python" --editable ".[dev]"
else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
fi
