"""Files cut into folders that a small transfer carries, and put together at the other end.

Each folder describes itself: `manifest.json` names its pieces, where each belongs in which file,
and the SHA-256 of both. Folders may arrive in any order and more than once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# Kept free in each folder, for the manifest.
_MANIFEST_BYTES = 2**16


class PayloadError(Exception):
    """A piece or a file is not what its manifest says."""


def pack(payloads: Mapping[str, Sequence[Path]], target: Path, limit: int) -> list[Path]:
    """Cut the files of all payloads, in their order, into folders of at most `limit` bytes.

    Returns:
        The folders, below `target`, whose earlier content is gone.
    """
    shutil.rmtree(target, ignore_errors=True)
    files: dict[str, dict[str, Any]] = {}
    folders: list[list[dict[str, Any]]] = []
    left = 0
    for payload, file in ((name, path) for name, paths in payloads.items() for path in paths):
        content = memoryview(file.read_bytes())
        files[file.name] = {"payload": payload, "size": len(content), "sha256": _sha256(content)}
        at = 0
        while at < len(content):
            if not left:
                folders.append([])
                left = limit - _MANIFEST_BYTES
                (target / f"{len(folders):02}").mkdir(parents=True)
            part = content[at : at + left]
            piece = {"file": file.name, "offset": at, "sha256": _sha256(part)}
            (target / f"{len(folders):02}" / _name(piece)).write_bytes(part)
            folders[-1].append(piece)
            at, left = at + len(part), left - len(part)
    written = [target / f"{number:02}" for number in range(1, len(folders) + 1)]
    for folder, pieces in zip(written, folders, strict=True):
        (folder / MANIFEST).write_text(json.dumps({"files": files, "pieces": pieces}, indent=1))
    return written


def receive(folder: Path, home: Path) -> dict[str, list[Path]]:
    """Take a folder's pieces to `home`.

    Returns:
        The payloads that are whole now, with their files.

    Raises:
        PayloadError: a piece was damaged on its way, or pieces of another kit are among them.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    pieces, whole = home / "pieces", home / "files"
    for made in (pieces, whole):
        made.mkdir(parents=True, exist_ok=True)
    for piece in manifest["pieces"]:
        content = (folder / _name(piece)).read_bytes()
        if _sha256(content) != piece["sha256"]:
            raise PayloadError(f"{folder / _name(piece)} was damaged on its way: send it again")
        (pieces / _name(piece)).write_bytes(content)
    payloads: dict[str, list[Path]] = {}
    for name, file in manifest["files"].items():
        payloads.setdefault(file["payload"], []).append(whole / name)
        if not (whole / name).exists():
            _join(name, file, pieces, whole)
    return {name: files for name, files in payloads.items() if all(f.exists() for f in files)}


def _join(name: str, file: Mapping[str, Any], pieces: Path, whole: Path) -> None:
    """Join a file if all of it is there."""
    parts = sorted(
        (part for part in pieces.iterdir() if part.stem == name), key=lambda p: int(p.suffix[1:])
    )
    if sum(part.stat().st_size for part in parts) != file["size"]:
        return
    content = b"".join(part.read_bytes() for part in parts)
    if _sha256(content) != file["sha256"]:
        raise PayloadError(f"{name} is not what was packed: send the folders of one kit only")
    staged = whole / f"{name}.staged"
    staged.write_bytes(content)
    staged.replace(whole / name)
    for part in parts:
        part.unlink()


def _name(piece: Mapping[str, Any]) -> str:
    return f"{piece['file']}.{piece['offset']}"


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
