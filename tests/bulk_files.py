"""What bulk runs read and write."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    """A shard as WebDataset has it: of each sample, a picture and a file beside it."""
    with tarfile.open(file, "w") as tar:
        for name, encoded in members.items():
            for path, content in ((name, encoded), (name.replace(".png", ".json"), b"{}")):
                member = tarfile.TarInfo(path)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def files_below(folder: Path) -> dict[str, bytes]:
    """All that a run wrote, to compare runs byte by byte."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
