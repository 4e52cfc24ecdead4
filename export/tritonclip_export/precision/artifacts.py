"""The encoders of a bundle at another precision: rewritten, checked, compared, then kept."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import (
    TOWERS,
    Artifact,
    Bundle,
    Parity,
    Precision,
    Tower,
    recipes,
)
from tritonclip_export.errors import PrecisionError
from tritonclip_export.graph.encoder import written
from tritonclip_export.parity.figures import TOLERANCES, compare, describe
from tritonclip_export.parity.inputs import Batches, Inputs, Tensors
from tritonclip_export.parity.pairs import Pair, compare_pairs, run
from tritonclip_export.precision import activations, bisection, int8, layers, policy
from tritonclip_export.precision.emulation import emulated
from tritonclip_export.precision.lower import FLOATING, INT8, Lower
from tritonclip_export.precision.rewrite import lower_precision
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.precision.scaling import scale_products
from tritonclip_export.staging.folders import staging_folder

# Counts up when the same inputs would give another graph.
REVISION = 4
BUILT_WITH = ("onnx", "onnx-ir", "onnxruntime")

# A probed graph keeps many activations; big images have the largest.
MEASURED_TOGETHER: dict[Tower, int] = {"image": 2, "text": 8}

# BF16 convolutions are in ONNX since opset 22.
BF16_OPSET = 22


@dataclass(frozen=True)
class _Recipe:
    """All that decides what a graph will be."""

    source: Artifact
    precision: Precision
    keep_fp32: tuple[str, ...]
    inputs: str

    @property
    def sha256(self) -> str:
        parts = (REVISION, self.source.sha256, self.precision, self.keep_fp32, self.inputs)
        return recipes.recipe(*parts, _versions())


def write(
    bundle: Bundle,
    precision: Precision,
    *,
    inputs: Inputs,
    keep_fp32: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Add both encoders at `precision` to the bundle, unless they are there already.

    Args:
        bundle: the bundle; its FP32 graphs are the source.
        precision: `fp32` has nothing to do.
        inputs: what activations and parity are measured on.
        keep_fp32: patterns of layers to keep in FP32 beyond those that have to be.
        progress: told of each step as it begins.

    Returns:
        The bundle with the artifacts and their parity figures, saved.

    Raises:
        BundleError: a file of the bundle is damaged.
        DiskSpaceError: the encoders would not fit beside the bundle.
        PrecisionError: a pattern matches nothing, or an encoder misses its tolerance; names the
            worst layer.
    """
    if precision == "fp32":
        return bundle
    wanted = {
        tower: _Recipe(bundle.artifact(tower), precision, tuple(keep_fp32), inputs.sha256)
        for tower in TOWERS
    }

    def make(folder: Path) -> tuple[list[Artifact], list[Parity]]:
        policy.check_patterns((bundle.file(r.source.file) for r in wanted.values()), keep_fp32)
        batches = Batches.of(bundle, inputs)
        artifacts: list[Artifact] = []
        found: dict[Tower, activations.Activations] = {}
        for tower in TOWERS:
            progress(f"writing the {tower} encoder in {precision}")
            found[tower] = _measure(bundle, wanted[tower], batches)
            artifacts.append(_write(bundle, wanted[tower], found[tower], folder))
        progress(f"comparing both {precision} encoders with FP32")
        staged = Bundle(path=folder, info=bundle.info.model_copy(update={"artifacts": artifacts}))
        candidate = onnx_embeddings(staged, batches, precision)
        reference = Pair(*(found[tower].embeddings for tower in TOWERS))
        figures = compare_pairs(precision, reference, candidate)
        for tower, figure in zip(TOWERS, figures, strict=True):
            if not figure.passed:
                progress(f"looking for the layer that breaks the {tower} encoder")
                tensors = batches.of_tower(tower)
                raise _missed(bundle, wanted[tower], figure, found[tower], tensors)
        return artifacts, figures

    hashes = {tower: recipe.sha256 for tower, recipe in wanted.items()}
    return recipes.add(bundle, "onnx", precision, hashes, make)


def _measure(bundle: Bundle, recipe: _Recipe, batches: Batches) -> activations.Activations:
    """Measure in small batches: something to tell apart in each, and memory for probes on all."""
    tower = recipe.source.tower
    whole = batches.pixels if tower == "image" else batches.padded_ids
    size = MEASURED_TOGETHER[tower]
    parts = [batch[i : i + size] for batch in whole for i in range(0, len(batch), size)]
    lower = FLOATING.get(recipe.precision, INT8)
    return activations.measure(bundle.file(recipe.source.file), parts, lower)


def _write(
    bundle: Bundle, recipe: _Recipe, found: activations.Activations, folder: Path
) -> Artifact:
    """Write one encoder into `folder` and check it against ONNX's rules and the contract."""
    import onnx

    source = recipe.source
    file = folder / f"{source.tower}_encoder.{recipe.precision}.onnx"
    original = bundle.file(source.file)
    if recipe.precision == "int8":
        nodes = layers.load(original).graph
        int8.quantise(original, file, int8.excluded(nodes, found, recipe.keep_fp32))
    else:
        lower = FLOATING[recipe.precision]
        layers.save(_lowered(original, found, lower, recipe.keep_fp32), file)
    onnx.checker.check_model(str(file), full_check=True)
    return Artifact(
        tower=source.tower,
        format="onnx",
        precision=recipe.precision,
        **written(file),
        max_batch=source.max_batch,
        opset=layers.load(file).opset_imports[""],
        built_with=_versions(),
        recipe=recipe.sha256,
        kept_fp32=recipe.keep_fp32,
    )


def _lowered(file: Path, found: activations.Activations, lower: Lower, keep: Sequence[str]) -> Any:
    from onnxscript import version_converter

    model = _scaled(file, found, lower)
    stay = policy.stay_fp32(model.graph, found, lower, keep)
    lower_precision(model.graph, lower, set(stay))
    if lower.name == "bf16":
        version_converter.convert_version(model, BF16_OPSET)
    return model


def _scaled(file: Path, found: activations.Activations, lower: Lower) -> Any:
    model = layers.load(file)
    scale_products(model.graph, found.largest, lower)
    return model


def _missed(
    bundle: Bundle,
    recipe: _Recipe,
    figure: Parity,
    found: activations.Activations,
    tensors: Tensors,
) -> PrecisionError:
    """What to say of an encoder outside its tolerance: which layer, and the ways out."""
    problem = f"parity is broken at stage {figure.stage!r}: {describe(figure)}"
    if recipe.precision == "int8":
        return PrecisionError(f"{problem}. Serve this encoder in FP32, or INT8 with --keep-fp32.")
    culprit = _culprit(bundle, recipe, found, tensors)
    if culprit is None:
        return PrecisionError(
            f"{problem}. Each embedding is near enough, only their ranking is not: measure on more "
            "of your own inputs, with --images and --texts."
        )
    other = "" if recipe.precision == "bf16" else ", or build it with --precision bf16"
    if culprit.is_gradual:
        why = f"The error grows over many layers and passes the tolerance at {culprit.layer}."
    else:
        why = (
            f"The layer that breaks it is {culprit.layer}: with the layers before it the error is "
            f"{culprit.error_before:.2g} of the spread, with it {culprit.error_with:.2g}."
        )
    if culprit.is_enough:
        keep = f"Keep it in FP32 with --keep-fp32 '{culprit.layer}'{other}."
    else:
        keep = (
            f"It is not the only one: kept in FP32 alone, it leaves {culprit.error_kept:.2g}. "
            f"Keep several with --keep-fp32 PATTERN{other}."
        )
    return PrecisionError(f"{problem}. {why} {keep}", culprit.layer)


def _culprit(
    bundle: Bundle,
    recipe: _Recipe,
    found: activations.Activations,
    tensors: Tensors,
) -> bisection.Culprit | None:
    original = bundle.file(recipe.source.file)
    lower = FLOATING[recipe.precision]
    tolerance = TOLERANCES[recipe.precision]

    def error_of(kept: list[str]) -> float:
        with staging_folder(bundle.path) as folder:
            file = folder / "candidate.onnx"
            layers.save(_lowered(original, found, lower, [*recipe.keep_fp32, *kept]), file)
            with emulated(file) as encoder:
                compared = compare("", found.embeddings, run(encoder, tensors), tolerance)
        return compared.relative_to_spread or 0.0

    model = _scaled(original, found, lower)
    fixed = policy.stay_fp32(model.graph, found, lower, recipe.keep_fp32)
    lowered = list(
        dict.fromkeys(
            layers.layer_of(node)
            for node in model.graph
            if node not in fixed and any(layers.is_float(value) for value in node.outputs)
        )
    )
    return bisection.worst_layer(lowered, error_of, tolerance.relative_to_spread)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in BUILT_WITH}
