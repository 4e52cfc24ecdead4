"""`export`: checkpoint -> bundle, checked and in parity before anything is written.

Everything happens in a hidden folder beside the target, which takes the target's place in one
rename at the end; an interrupted export leaves the previous bundle, or nothing.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tritonclip_export import samples
from tritonclip_export.bundle import (
    FILENAME,
    Artifact,
    Bundle,
    BundleInfo,
    ImageSpec,
    TextSpec,
    Tower,
    bucket_lengths,
    require_name,
)
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.errors import BundleError
from tritonclip_export.export import token_outputs
from tritonclip_export.graph.encoder import OPSET, Input, check, written
from tritonclip_export.graph.tracing import size_of, trace
from tritonclip_export.parity.figures import require
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import compare_inputs, compare_pairs, reference_embeddings
from tritonclip_export.precision.running import keep_baseline, onnx_embeddings
from tritonclip_export.staging.folders import replace_folder, require_space, staging_folder

if TYPE_CHECKING:
    import torch

Progress = Callable[[str], None]

BUILT_WITH = ("torch", "open_clip_torch", "onnx", "onnxscript", "timm", "transformers")


def export(
    checkpoint: DualEncoder,
    target: Path,
    *,
    name: str,
    max_batch: int = 64,
    tokens: token_outputs.Layers | None = None,
    progress: Progress = lambda _: None,
) -> Bundle:
    """Write the bundle of `checkpoint` to the folder `target`, replacing a bundle there.

    Args:
        checkpoint: what `checkpoint.load` returned.
        target: the bundle's folder.
        name: what its models will be called on the server.
        max_batch: the largest batch the server will form.
        tokens: layers of the towers to export token by token as well.
        progress: told of each step as it begins.

    Raises:
        BundleError: `target` exists and is no bundle, or `name` is not a valid model name.
        DiskSpaceError: the graphs would not fit beside `target`.
        ExportError: a tower cannot be traced, or a graph fails a check.
        ParityError: a graph disagrees with PyTorch.
    """
    require_name(name)
    if target.exists() and not (target / FILENAME).is_file():
        raise BundleError(f"{target} exists and is not a bundle; name another folder")
    with staging_folder(target) as folder:
        info = _write(checkpoint, folder, name, max_batch, tokens or {}, progress)
        bundle = Bundle(path=folder, info=info)
        bundle.save()
        replace_folder(folder, target)
    return Bundle(path=target, info=info)


def up_to_date(
    checkpoint: DualEncoder,
    target: Path,
    *,
    name: str,
    max_batch: int,
    tokens: token_outputs.Layers | None = None,
) -> Bundle | None:
    """The bundle at `target`, if exporting again would write the same."""
    try:
        bundle = Bundle.load(target)
        bundle.check_files()
    except BundleError:
        return None
    info = bundle.info
    same = (
        info.name == name
        and {t.tower: t.layer for t in info.tokens} == (tokens or {})
        and info.exporter_version == importlib.metadata.version("tritonclip")
        and info.source.weights_sha256 == checkpoint.source.weights_sha256
        and info.source.library_version == checkpoint.source.library_version
        and info.source.language == checkpoint.source.language
        and (info.image, info.similarity) == (checkpoint.image, checkpoint.similarity)
        and all(
            (a.max_batch, a.built_with) == (max_batch, _versions())
            for a in info.artifacts
            if (a.format, a.precision) == ("onnx", "fp32")
        )
    )
    return bundle if same else None


def _write(
    checkpoint: DualEncoder,
    folder: Path,
    name: str,
    max_batch: int,
    tokens: token_outputs.Layers,
    progress: Progress,
) -> BundleInfo:
    from tritonclip_export.export import encoders

    token_modules = token_outputs.towers(checkpoint, tokens)
    progress("converting the tokenizer")
    text = checkpoint.served_tokenizer().write(folder, dynamic_length=checkpoint.dynamic_length)
    towers: list[tuple[Tower, torch.nn.Module, Input]] = [
        ("image", encoders.image_encoder(checkpoint), _image_input(checkpoint.image)),
        ("text", encoders.text_encoder(checkpoint), _text_input(checkpoint, text)),
    ]
    modules = [*(module for _, module, _ in towers), *token_modules.values()]
    require_space(folder, sum(size_of(module) for module in modules))
    artifacts = []
    for tower, module, input in towers:
        progress(f"tracing and checking the {tower} encoder")
        artifacts.append(_encoder(module, tower, input, folder, checkpoint.dim, max_batch))
    info = BundleInfo(
        name=name,
        exporter_version=importlib.metadata.version("tritonclip"),
        source=checkpoint.source,
        dim=checkpoint.dim,
        image=checkpoint.image,
        text=text,
        similarity=checkpoint.similarity,
        artifacts=tuple(artifacts),
        tokens=token_outputs.export(
            token_modules,
            tokens,
            {tower: input for tower, _, input in towers},
            folder,
            max_batch=max_batch,
            progress=progress,
        ),
    )
    progress("comparing both encoders with PyTorch")
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    bundle = Bundle(path=folder, info=info)
    batches = Batches.of(bundle, inputs)
    embeddings = onnx_embeddings(bundle, batches)
    figures = compare_inputs(checkpoint, folder, text, inputs)
    figures += compare_pairs("onnx", reference_embeddings(checkpoint, inputs), embeddings)
    figures += token_outputs.figures(checkpoint, bundle, inputs)
    require(figures)
    baseline = keep_baseline(bundle, batches, embeddings)
    return info.model_copy(update={"parity": tuple(figures), "baseline": baseline})


def _encoder(
    module: torch.nn.Module,
    tower: Tower,
    input: Input,
    folder: Path,
    dim: int,
    max_batch: int,
) -> Artifact:
    file = folder / f"{tower}_encoder.onnx"
    trace(module, input, file)
    check(file, input, dim=dim)
    return Artifact(
        tower=tower,
        format="onnx",
        precision="fp32",
        **written(file),
        max_batch=max_batch,
        opset=OPSET,
        built_with=_versions(),
    )


def _image_input(image: ImageSpec) -> Input:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, image.height, image.width), np.uint8)
    return Input("PIXELS", pixels, {0: "batch"})


def _text_input(checkpoint: DualEncoder, text: TextSpec) -> Input:
    ids = checkpoint.token_ids(["a photo", "of a cat"]).astype(np.int32)
    if not text.dynamic_length:
        return Input("TOKEN_IDS", ids, {0: "batch"})
    return Input("TOKEN_IDS", ids, {0: "batch", 1: "length"}, lengths=tuple(bucket_lengths(text)))


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in BUILT_WITH}
