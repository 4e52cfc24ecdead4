"""clip-server 0.8.3 (Jina's clip-as-service): in torch as it comes, and ONNX at its best setting.

It needs Python 3.9, and pydantic and FastAPI of its time. Jina can put requests together ("dynamic
batching"), which clip-server leaves off; the ONNX variant has it on, and one thread for each core:
by itself clip-server takes two for each of torch's, and more threads than cores get in each other's
way.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from functools import partial
from pathlib import Path

from benchmarks.peers.peer import Peer, Place
from tritonclip_export.bench.sending import Request

_FLOW = """
jtype: Flow
version: '1'
with:
  port: {port}
  protocol: http
executors:
  - name: clip
    uses:
      jtype: CLIPEncoder
      with: {arguments}
      metas:
        py_modules:
          - clip_server.executors.{module}
{batching}"""
_BATCHING = """    uses_dynamic_batching:
      /default:
        preferred_batch_size: 8
        timeout: 10
"""
_CORES = os.cpu_count() or 1
# Of the time of its release, which it does not ask for itself.
_OLD = ("pydantic<2", "fastapi<0.110", "setuptools<81", "numpy<2")
_PACKAGES = ("clip-server[onnx]==0.8.3", *_OLD)


def _prepare(module: str, batching: str, place: Place) -> None:
    arguments = {"name": "ViT-B-32::openai"}
    if module == "clip_onnx":
        arguments["model_path"] = str(place.folder)
    flow = _FLOW.format(
        port=place.port, arguments=json.dumps(arguments), module=module, batching=batching
    )
    # Beside this module it would find this one when it imports `clip_server`.
    shutil.copy(Path(__file__).with_name("clip_server_start.py"), place.folder)
    (place.folder / "flow.yml").write_text(flow, encoding="utf-8")


def _command(place: Place) -> list[str]:
    return [str(place.python), "clip_server_start.py", "flow.yml", str(place.folder)]


def _request(kind: str, item: bytes) -> Request:
    document = (
        {"text": item.decode()} if kind == "text" else {"blob": base64.b64encode(item).decode()}
    )
    body = {"data": [document], "execEndpoint": "/"}
    return Request(json.dumps(body).encode(), {"Content-Type": "application/json"})


def _peer(name: str, about: str, module: str, batching: str, torch_threads: int) -> Peer:
    return Peer(
        name=name,
        about=about,
        packages=_PACKAGES,
        prepare=partial(_prepare, module, batching),
        command=_command,
        path=lambda _: "/post",
        request=_request,
        embedding=lambda answer: json.loads(answer)["data"][0]["embedding"],
        interpreter="3.9",
        environment={
            "JINA_HIDE_SURVEY": "1",
            "NO_VERSION_CHECK": "1",
            "TORCH_THREADS": str(torch_threads),
        },
    )


TORCH = _peer(
    "clip-server torch",
    "clip-server 0.8.3 in torch as it comes, over HTTP",
    "clip_torch",
    "",
    _CORES,
)
ONNX = _peer(
    "clip-server ONNX",
    "clip-server 0.8.3 in ONNX Runtime with dynamic batching of 8 and a thread a core, over HTTP",
    "clip_onnx",
    _BATCHING,
    max(1, _CORES // 2),
)
