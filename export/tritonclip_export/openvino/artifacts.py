"""The encoders of a bundle as OpenVINO models: written, executed, compared, then kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tritonclip_export.bundle import TOWERS, Artifact, Bundle, Parity, Precision, recipes, sha256_of
from tritonclip_export.errors import PrecisionError
from tritonclip_export.openvino import library, quantisation
from tritonclip_export.openvino.running import FORMAT, embeddings, open_model
from tritonclip_export.parity.figures import TOLERANCES, Tolerance, compare, describe
from tritonclip_export.parity.inputs import Batches, Embeddings, Inputs, Tensors
from tritonclip_export.parity.pairs import Pair, compare_pairs, run
from tritonclip_export.precision import policy
from tritonclip_export.precision.running import fp32_embeddings

# Counts up when the same inputs would give another model.
REVISION = 1

# FP32 differs from ONNX Runtime's by the order of sums only.
TOLERANCE_OF: dict[Precision, Tolerance] = {
    "fp32": TOLERANCES["onnx"],
    "bf16": TOLERANCES["bf16"],
    "int8": TOLERANCES["int8"],
}
# What an index relies on. In FP32, the norm of some hundred products is exact to a few 1e-7.
NORM = 1e-4


def stage(precision: Precision) -> str:
    """What parity of these models is called."""
    return f"{FORMAT} {precision}"


def write(
    bundle: Bundle,
    precision: Precision,
    *,
    inputs: Inputs,
    keep_fp32: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Add both encoders as OpenVINO models of `precision`, unless they are there already.

    Args:
        bundle: the bundle; its FP32 graphs are the source.
        precision: fp32, bf16 or int8.
        inputs: what parity is measured on, and int8 calibrated.
        keep_fp32: for int8, patterns of layers to leave in FP32.
        progress: told of each step as it begins.

    Returns:
        The bundle with the artifacts and their parity figures, saved.

    Raises:
        BundleError: a file of the bundle is damaged.
        DiskSpaceError: the encoders would not fit beside the bundle.
        PrecisionError: OpenVINO is not installed, this CPU does not execute the precision, a
            pattern matches nothing, or an encoder misses its tolerance.
    """
    library.check(precision)
    if keep_fp32 and precision != "int8":
        raise PrecisionError(
            f"--keep-fp32 leaves layers of int8 models as they are; in {precision}, OpenVINO "
            "decides for each operation itself: leave it out"
        )
    versions = library.versions(precision)
    wanted = {
        tower: recipes.recipe(
            REVISION,
            FORMAT,
            bundle.artifact(tower).sha256,
            precision,
            list(keep_fp32),
            inputs.sha256,
            versions,
        )
        for tower in TOWERS
    }

    def make(folder: Path) -> tuple[list[Artifact], list[Parity]]:
        sources = {tower: bundle.artifact(tower) for tower in TOWERS}
        policy.check_patterns((bundle.file(s.file) for s in sources.values()), keep_fp32)
        batches = Batches.of(bundle, inputs)
        reference = fp32_embeddings(bundle, batches)
        artifacts = []
        for tower, source in sources.items():
            progress(f"writing the {tower} encoder in {precision} for OpenVINO")
            file = folder / f"{tower}_encoder.{precision}.xml"
            original = bundle.file(source.file)
            if precision == "int8":
                exact = reference.images if tower == "image" else reference.texts
                _quantise(original, file, batches.of_tower(tower), exact, keep_fp32)
            else:
                _save(library.load().Core().read_model(original), file, half=precision == "bf16")
            weights = file.with_suffix(".bin")
            artifacts.append(
                Artifact(
                    tower=tower,
                    format=FORMAT,
                    precision=precision,
                    file=file.name,
                    external_data=weights.name,
                    sha256=sha256_of(file, weights),
                    max_batch=source.max_batch,
                    built_with=versions,
                    recipe=wanted[tower],
                    kept_fp32=tuple(keep_fp32),
                )
            )
        progress(f"comparing both encoders in {precision}, executed by OpenVINO, with FP32")
        staged = Bundle(path=folder, info=bundle.info.model_copy(update={"artifacts": artifacts}))
        candidate = embeddings(staged, batches, precision)
        figures = compare_pairs(stage(precision), reference, candidate, TOLERANCE_OF[precision])
        _check(precision, figures, candidate)
        return artifacts, figures

    return recipes.add(bundle, FORMAT, precision, wanted, make)


def _quantise(
    source: Path, target: Path, batches: Tensors, exact: Embeddings, keep: Sequence[str]
) -> None:
    """Write a quantised model, with convolutions in FP32 if it misses its tolerance otherwise."""
    items = [item[None] for batch in batches for item in batch]
    for convolutions in (True, False):
        model = quantisation.quantised(source, items, keep, convolutions=convolutions)
        # Not written over: OpenVINO has mapped the one before.
        target.with_suffix(".bin").unlink(missing_ok=True)
        _save(model, target, half=False)
        found = run(open_model(target, "int8"), batches)
        if compare("", exact, found, TOLERANCE_OF["int8"]).passed:
            return


def _save(model: Any, file: Path, *, half: bool) -> None:
    """Write a model; its weights go to a file beside it.

    Half precision is finer than BF16 by three bits, and OpenVINO rounds weights to BF16 only while
    it loads them, so `half` costs a BF16 model nothing and saves half of the file.
    """
    library.load().save_model(model, file, compress_to_fp16=half)


def _check(precision: Precision, figures: Sequence[Parity], candidate: Pair) -> None:
    for figure in figures:
        if not figure.passed:
            remedy = {
                "fp32": "Serve this encoder with --runtime python.",
                "bf16": "Build it with --precision fp32.",
                "int8": "Build it with --precision bf16, or int8 with --keep-fp32.",
            }[precision]
            raise PrecisionError(
                f"parity is broken at stage {figure.stage!r}: {describe(figure)}. {remedy}"
            )
    for tower, vectors in (("image", candidate.images), ("text", candidate.texts)):
        error = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())
        if not error <= NORM:
            raise PrecisionError(
                f"the {tower} encoder in {precision} gives vectors whose length differs from 1 by "
                f"{error:.2g}: OpenVINO does not compute its norm in FP32. Build it with "
                "--precision fp32"
            )
