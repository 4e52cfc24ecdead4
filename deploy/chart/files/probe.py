"""Exit with 0 if every bundle on this server embeds a text and a picture, over HTTP on port 8000.

For the probes of the chart, in Triton's own image: the standard library alone. A server, its models
and its ensembles all say that they are ready while the process behind a model is dead.
"""

import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from typing import Any

# Below the time-out of the liveness probe, so that there is something to read in its event.
_SECONDS = 25
_SERVER = os.environ.get("TRITON", "http://127.0.0.1:8000")
# A proxy that the environment names is for other machines.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def models() -> list[str]:
    """Those at which requests arrive, of all bundles."""
    with _post("/v2/repository/index", b'{"ready": true}', {}) as answer:
        names = [model["name"] for model in json.load(answer)]
    return [name for name in names if name.endswith(("_text", "_image"))]


def embed(model: str) -> None:
    """Raise unless the model answers."""
    if model.endswith("_text"):
        # Never the same, or the response cache would answer for a model that is gone.
        tensor, item = "TEXT", f"probe {time.time_ns()}".encode()
    else:
        tensor, item = "IMAGE", picture()
    size = 4 + len(item)
    given = {"name": tensor, "datatype": "BYTES", "shape": [1, 1]}
    head = json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": size}}]}).encode()
    body = head + struct.pack("<I", len(item)) + item
    headers = {"Inference-Header-Content-Length": str(len(head))}
    with _post(f"/v2/models/{model}/infer", body, headers) as answer:
        answer.read()


def picture() -> bytes:
    """A PNG of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0\x80")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _post(path: str, body: bytes, headers: dict[str, str]) -> Any:
    return _OPENER.open(urllib.request.Request(_SERVER + path, body, headers), timeout=_SECONDS)


def main() -> None:
    """Probe."""
    found = models()
    if not found:
        sys.exit("the server has no model that embeds")
    for model in found:
        try:
            embed(model)
        except urllib.error.HTTPError as error:
            sys.exit(f"{model}: {error.read().decode(errors='replace')}")
        except OSError as error:
            sys.exit(f"{model}: {error}")


if __name__ == "__main__":
    main()
