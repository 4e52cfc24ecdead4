"""Steps that add encoders to a bundle: whether one has been done, and keeping what it made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import TOWERS, Artifact, Bundle, Parity, Precision, Tower
from tritonclip_export.errors import BundleError
from tritonclip_export.staging import require_space

# What a number takes at each, of FP32's bytes.
SHARES: dict[Precision, float] = {"fp32": 1, "bf16": 1 / 2, "fp16": 1 / 2, "int8": 1 / 4}


def recipe(*parts: Any) -> str:
    """SHA-256 over all that decides what an artifact will be: values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_there(
    bundle: Bundle, format: str, precision: Precision, recipes: Mapping[Tower, str]
) -> bool:
    """Whether the bundle has these encoders, made by these recipes, with sound files."""
    try:
        found = {tower: bundle.artifact(tower, format, precision) for tower in recipes}
        for artifact in found.values():
            bundle.check_artifact(artifact)
    except BundleError:
        return False
    return {tower: artifact.recipe for tower, artifact in found.items()} == recipes


def check_space(bundle: Bundle, staging: Path, precision: Precision) -> None:
    """Check that both encoders at `precision` will fit into a staging folder.

    Raises:
        DiskSpaceError: the disk has less left.
    """
    whole = sum(bundle.size_of(bundle.artifact(tower)) for tower in TOWERS)
    require_space(staging, int(whole * SHARES[precision]))


def keep(
    bundle: Bundle, folder: Path, artifacts: Sequence[Artifact], figures: Sequence[Parity]
) -> Bundle:
    """Move the files of new artifacts from `folder` into the bundle and record them.

    Artifacts and figures take the place of older ones of the same purpose and stage.

    Returns:
        The bundle, saved.
    """
    for artifact in artifacts:
        for name in (artifact.file, artifact.external_data):
            if name is not None:
                (folder / name).replace(bundle.file(name))
    updated = bundle.with_artifacts(artifacts).with_parity(figures)
    updated.save()
    return updated
