"""open_clip behind FastAPI: what a team without a serving project has after an afternoon."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.peers.peer import Peer, Place
from tritonclip_export.bench.sending import Request


def _prepare(place: Place) -> None:
    shutil.copy(Path(__file__).with_name("fastapi_app.py"), place.folder)


def _command(place: Place) -> list[str]:
    return [
        *(str(place.python), "-m", "uvicorn", "fastapi_app:app"),
        *("--host", "127.0.0.1", "--port", str(place.port), "--log-level", "warning"),
    ]


def _request(_kind: str, item: bytes) -> Request:
    return Request(item)


FASTAPI = Peer(
    name="open_clip + FastAPI",
    about="open_clip 3.3 in torch, one item at a time in a thread pool, over HTTP",
    packages=("open_clip_torch==3.3.0", "fastapi", "uvicorn"),
    prepare=_prepare,
    command=_command,
    path=lambda kind: f"/{kind}",
    request=_request,
    embedding=json.loads,
    environment={"ARCHITECTURE": "ViT-B-32"},
)
