#!/bin/bash
# Compiles engines with the trtexec of the image it runs in. `tritonclip build --container` runs it.
#
#   build_engines.sh CACHE JOB...
#
# CACHE is the folder of timing caches. A JOB is one word for the shell: "RESULT FLAG FLAG ...". It
# leaves RESULT.log, RESULT.layers, RESULT.version and, last and only if all went well, RESULT.plan.
set -euo pipefail

cache=$1
shift
trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
if [ ! -x "$trtexec" ]; then
    echo "this image has no trtexec; images of Triton with TensorRT have it in /usr/src/tensorrt/bin" >&2
    exit 3
fi
version=${TRT_VERSION:-}
if [ -n "$version" ] && [ "$(printf '10.12\n%s\n' "$version" | sort -V | head -n 1)" != 10.12 ]; then
    echo "TensorRT $version is too old: strongly typed graphs need 10.12, in images from 25.08 on" >&2
    exit 4
fi
typed=
if "$trtexec" --help 2>&1 | grep -e --stronglyTyped >/dev/null; then
    typed=--stronglyTyped # a default since TensorRT 11, where the flag may go
fi
gpu=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 || true)

result=
compiler=
trap 'rm -f "$result.partial"' EXIT
trap 'kill "$compiler" && wait "$compiler" || true; exit 130' INT TERM
for job in "$@"; do
    read -r result flags <<<"$job"
    mkdir -p "$(dirname "$result")"
    rm -f "$result".*
    echo "trtexec: $result"
    # shellcheck disable=SC2086 # the flags are words
    "$trtexec" $flags $typed \
        --saveEngine="$result.partial" \
        --exportLayerInfo="$result.layers" \
        --timingCacheFile="$cache/${version:-unknown}-sm${gpu/./}.timing" >"$result.log" 2>&1 &
    compiler=$! # in the background, so that a signal is not kept waiting for it
    wait "$compiler" || exit 5
    echo "$version" >"$result.version"
    mv "$result.partial" "$result.plan"
done
