"""Staged models put in place: one atomic exchange each, and only of those that would change.

So a polling server never finds half a model, and loads nothing again without need.
"""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.repository.models import BUNDLE_PARAMETER
from tritonclip_export.served.model_config import read_config
from tritonclip_export.staging.folders import replace_folder


@dataclass(frozen=True)
class Published:
    """What became of the models of a repository, by name."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    """Models that `assemble` wrote earlier, for bundles that are not staged."""


def publish(staging: Path, target: Path, *, prune: bool) -> Published:
    """Put the models in `staging` into the repository `target`.

    Args:
        staging: a folder on the file system of `target`; what was replaced is left in it.
        target: the repository's folder; created if it is not there.
        prune: remove the models that would be kept. Folders that `assemble` did not write stay.
    """
    others = other_models(staging, target)
    target.mkdir(parents=True, exist_ok=True)
    staged = sorted(path.name for path in staging.iterdir())
    unchanged = [name for name in staged if _same_folder(staging / name, target / name)]
    written = [name for name in staged if name not in unchanged]
    for name in written:
        replace_folder(staging / name, target / name)
    if prune:
        for name in others:
            (target / name).rename(staging / f"removed-{name}")
    return Published(
        written=tuple(written),
        unchanged=tuple(unchanged),
        removed=others if prune else (),
        kept=() if prune else others,
    )


def other_models(staging: Path, target: Path) -> tuple[str, ...]:
    """The models in `target` that `assemble` wrote and that are not staged."""
    return tuple(
        file.parent.name
        for file in sorted(target.glob("*/config.pbtxt"))
        if not (staging / file.parent.name).exists()
        and BUNDLE_PARAMETER in read_config(file).parameters
    )


def _same_folder(a: Path, b: Path) -> bool:
    files = _files(a)
    return files == _files(b) and all(
        (a / name).samefile(b / name) or filecmp.cmp(a / name, b / name, shallow=False)
        for name in files
    )


def _files(folder: Path) -> set[Path]:
    """Relative paths of what `assemble` writes; a server may have left bytecode beside it."""
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
