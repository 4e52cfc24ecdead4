"""`verify`: parity hop by hop, from the checkpoint's own library to the running server.

Each hop is compared with the one before it, on the same real inputs:

    token ids   the checkpoint's own     -> the server's tokenizing code    every id equal
    pixels      the checkpoint's own     -> the server's preprocessing code every value equal
    onnx        PyTorch, FP32            -> the bundle's graphs in ONNX Runtime
    fp16, ...   the FP32 graphs          -> the graphs at that precision, emulated without CUDA
    engine      the graphs compiled      -> the engines for the GPU of this machine, if it has one
    openvino    the FP32 graphs          -> the OpenVINO models that this CPU executes
    served      the FP32 graphs          -> embeddings over the network

The pixels are those of the mode `exact`; a server with another one says so, and its stage is called
`served (draft)`: it is compared with exact pixels, by the tolerance of its mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.bundle import Artifact, Bundle, Parity, Precision, Source
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.errors import CheckpointError, RepositoryError
from tritonclip_export.export import token_outputs
from tritonclip_export.parity.figures import TOLERANCES, Tolerance, served_tolerance
from tritonclip_export.parity.inputs import Batches, Embeddings, Inputs
from tritonclip_export.parity.pairs import (
    Pair,
    compare_inputs,
    compare_pairs,
    reference_embeddings,
    run,
)
from tritonclip_export.precision.running import onnx_embeddings


@dataclass(frozen=True)
class Hop:
    """Two stages' embeddings of the same inputs, and how far they are apart."""

    stage: str
    reference: Pair
    candidate: Pair
    tolerance: Tolerance
    figures: tuple[Parity, Parity]
    """Of the images and of the texts."""


@dataclass(frozen=True)
class Verified:
    """A bundle with its new figures, and what they are of."""

    bundle: Bundle
    hops: tuple[Hop, ...]


def verify(
    bundle: Bundle,
    inputs: Inputs,
    *,
    checkpoint: str | None = None,
    hub_folder: Path | None = None,
    server: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Measure every hop and record the figures in `bundle.json`, whether they pass or not.

    Args:
        bundle: the bundle.
        inputs: what to measure on.
        checkpoint: a reference, if the one that was exported has moved.
        hub_folder: where to take the hub's files from; None asks the hub.
        server: the address of a server that serves the bundle, to measure it as well.
        progress: told of each step as it begins.

    Raises:
        BundleError: a file of the bundle is damaged.
        CheckpointError: the checkpoint cannot be loaded, or is not the one that was exported.
        TritonClipError: the server cannot be reached or does not serve the bundle.
    """
    bundle.check_files()
    progress(f"loading {checkpoint or bundle.info.source.reference}")
    loaded = _exported_from(bundle.info.source, checkpoint, hub_folder)
    progress("comparing token ids and pixels")
    figures = compare_inputs(loaded, bundle.path, bundle.info.text, inputs)
    hops = tuple(_hops(loaded, bundle, inputs, server, progress))
    figures += token_outputs.figures(loaded, bundle, inputs)
    figures += [figure for hop in hops for figure in hop.figures]
    verified = bundle.with_info(parity=tuple(figures))
    verified.save()
    return Verified(verified, hops)


def _exported_from(source: Source, checkpoint: str | None, hub_folder: Path | None) -> DualEncoder:
    """Load what a bundle was exported from, by the name in `checkpoint` if it has another now."""
    from tritonclip_export.checkpoint import loading as checkpoints

    named = checkpoint or source.reference
    try:
        reference = checkpoints.parse(named)
    except CheckpointError as error:
        raise CheckpointError(
            f"the bundle was exported from {source.reference!r}, which is not to be found from "
            f"here: {error} Name it with --checkpoint."
        ) from error
    loaded = checkpoints.load(
        reference, random_seed=source.random_seed, source=hub_folder, language=source.language
    )
    if loaded.source.weights_sha256 != source.weights_sha256:
        raise CheckpointError(
            f"{named} holds other weights than the bundle was exported from; export it again, or "
            "name the right --checkpoint"
        )
    return loaded


def _hops(
    loaded: DualEncoder,
    bundle: Bundle,
    inputs: Inputs,
    server: str | None,
    progress: Callable[[str], None],
) -> Iterator[Hop]:
    from tritonclip_export.openvino import artifacts, running
    from tritonclip_export.tensorrt.runner import engines_here

    batches = Batches.of(bundle, inputs)
    progress("comparing both encoders with PyTorch")
    onnx = onnx_embeddings(bundle, batches)
    yield _hop("onnx", reference_embeddings(loaded, inputs), onnx)
    graphs: dict[Precision, Pair] = {"fp32": onnx}
    for precision in bundle.precisions:
        progress(f"comparing both encoders in {precision} with FP32")
        graphs[precision] = onnx_embeddings(bundle, batches, precision)
        yield _hop(precision, onnx, graphs[precision])
    for precision, engines in engines_here(bundle).items():
        progress(f"comparing both engines in {precision} with their graphs")
        yield _hop("engine", graphs[precision], _engine_embeddings(bundle, engines, batches))
    for precision in running.precisions_here(bundle):
        progress(f"comparing both OpenVINO models in {precision} with FP32")
        candidate = running.embeddings(bundle, batches, precision)
        tolerance = artifacts.TOLERANCE_OF[precision]
        yield _hop(artifacts.stage(precision), onnx, candidate, tolerance)
    if server is not None:
        progress(f"comparing the server at {server}")
        yield _served(server, bundle, inputs, onnx)


def _hop(stage: str, reference: Pair, candidate: Pair, tolerance: Tolerance | None = None) -> Hop:
    tolerance = tolerance or TOLERANCES[stage]
    images, texts = compare_pairs(stage, reference, candidate, tolerance)
    return Hop(stage, reference, candidate, tolerance, (images, texts))


def _engine_embeddings(
    bundle: Bundle, engines: tuple[Artifact, Artifact], batches: Batches
) -> Pair:
    from tritonclip_export.tensorrt.runner import open_engine

    def embeddings(engine: Artifact) -> Embeddings:
        with open_engine(bundle, engine) as encode:
            return run(encode, batches.of_tower(engine.tower))

    image, text = engines
    return Pair(embeddings(image), embeddings(text))


def _served(server: str, bundle: Bundle, inputs: Inputs, onnx: Pair) -> Hop:
    """Compare what is served with FP32, by the tolerance of its precision and preprocessing."""
    from tritonclip import Client

    with Client(server, model=bundle.name) as client:
        info = client.info()
        if info.weights_sha256 != bundle.info.source.weights_sha256:
            raise RepositoryError(
                f"the server's {bundle.name} was assembled from other weights "
                f"({info.weights_sha256[:12]}...) than this bundle; assemble it again"
            )
        embedded = Pair(client.embed_images(inputs.images), client.embed_texts(inputs.texts))
    if info.orient:
        onnx = onnx_embeddings(bundle, Batches.of(bundle, inputs, orient=True))
    stage = "served" if info.preprocess == "exact" else f"served ({info.preprocess})"
    tolerance = served_tolerance(info.precision, info.preprocess)
    return _hop(stage, onnx, embedded, tolerance)
