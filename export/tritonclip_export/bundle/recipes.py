"""Adding encoders to a bundle: once for each recipe, and only as a whole.

Everything happens in a hidden folder beside the bundle; what misses its tolerance never enters it,
and what it held before stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import TOWERS, Artifact, Bundle, Parity, Precision, Tower
from tritonclip_export.errors import BundleError
from tritonclip_export.staging.folders import require_space, staging_folder

# What a number takes at each, of FP32's bytes.
SHARES: dict[Precision, float] = {"fp32": 1, "bf16": 1 / 2, "fp16": 1 / 2, "int8": 1 / 4}


def recipe(*parts: Any) -> str:
    """SHA-256 over all that decides what an artifact will be: values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def add(
    bundle: Bundle,
    format: str,
    precision: Precision,
    recipes: Mapping[Tower, str],
    make: Callable[[Path], tuple[Sequence[Artifact], Sequence[Parity]]],
) -> Bundle:
    """Add both encoders in a format and precision, unless the bundle has them by these recipes.

    Args:
        bundle: the bundle; its FP32 graphs are checked before anything is made from them.
        format: that of the artifacts.
        precision: that of the artifacts.
        recipes: what `recipe` gave for each tower.
        make: writes both encoders into the folder that it is given, and compares them; raises where
            they miss their tolerance. Artifacts and figures take the place of older ones of the
            same purpose and stage.

    Returns:
        The bundle with the artifacts and their figures, saved.

    Raises:
        BundleError: a file of the bundle is damaged.
        DiskSpaceError: the encoders would not fit beside the bundle.
    """
    if _is_there(bundle, format, precision, recipes):
        return bundle
    sources = [bundle.artifact(tower) for tower in TOWERS]
    for source in sources:
        bundle.check_artifact(source)
    with staging_folder(bundle.path) as folder:
        whole = sum(bundle.size_of(source) for source in sources)
        require_space(folder, int(whole * SHARES[precision]))
        artifacts, figures = make(folder)
        for artifact in artifacts:
            for name in (artifact.file, artifact.external_data):
                if name is not None:
                    (folder / name).replace(bundle.file(name))
        updated = bundle.with_artifacts(artifacts).with_parity(figures)
        updated.save()
        return updated


def _is_there(
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
