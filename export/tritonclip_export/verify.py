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

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tritonclip_export import parity, token_outputs
from tritonclip_export.bundle import Artifact, Bundle, Parity, Precision, TextSpec, Tower
from tritonclip_export.dual_encoder import DualEncoder
from tritonclip_export.errors import CheckpointError, ParityError, RepositoryError
from tritonclip_export.graph.encoder import Encode
from tritonclip_export.served import code

Embeddings: TypeAlias = npt.NDArray[np.float32]
Tensors: TypeAlias = Sequence[npt.NDArray[Any]]

# Inputs go through PyTorch and ONNX Runtime this many at a time, to bound memory on big towers.
BATCH = 16


@dataclass(frozen=True)
class Inputs:
    """What parity is measured on: encoded images and texts."""

    images: tuple[bytes, ...]
    texts: tuple[str, ...]

    @classmethod
    def read(cls, images: Sequence[Path], texts: Sequence[str]) -> Inputs:
        """Read the image files.

        Raises:
            ParityError: there are no images or no texts to measure on.
        """
        if not images or not texts:
            missing = "images" if not images else "texts"
            raise ParityError(f"there are no {missing} to measure parity on")
        return cls(tuple(file.read_bytes() for file in images), tuple(texts))

    @property
    def sha256(self) -> str:
        """Over all of them, in their order."""
        digest = hashlib.sha256()
        for item in (*self.images, *(text.encode() for text in self.texts)):
            digest.update(hashlib.sha256(item).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Pair:
    """Embeddings of the images and of the texts, [n, dim] each."""

    images: Embeddings
    texts: Embeddings


@dataclass(frozen=True)
class Hop:
    """Two stages' embeddings of the same inputs, and how far they are apart."""

    stage: str
    reference: Pair
    candidate: Pair
    tolerance: parity.Tolerance
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
    from tritonclip_export import checkpoint as checkpoints
    from tritonclip_export.openvino import artifacts, running
    from tritonclip_export.tensorrt.runner import engines_here

    bundle.check_files()
    source = bundle.info.source
    progress(f"loading {checkpoint or source.reference}")
    try:
        reference = checkpoints.parse(checkpoint or source.reference)
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
            f"{checkpoint or source.reference} holds other weights than the bundle was exported "
            "from; export it again, or name the right --checkpoint"
        )
    progress("comparing token ids and pixels")
    figures = compare_inputs(loaded, bundle.path, bundle.info.text, inputs)
    progress("comparing both encoders with PyTorch")
    batches = Batches.of(bundle, inputs)
    onnx = onnx_embeddings(bundle, batches)
    hops = [_hop("onnx", reference_embeddings(loaded, inputs), onnx)]
    at: dict[Precision, Pair] = {"fp32": onnx}
    for precision in bundle.precisions:
        progress(f"comparing both encoders in {precision} with FP32")
        at[precision] = onnx_embeddings(bundle, batches, precision)
        hops.append(_hop(precision, onnx, at[precision]))
    for precision, engines in engines_here(bundle).items():
        progress(f"comparing both engines in {precision} with their graphs")
        hops.append(_hop("engine", at[precision], _engine_embeddings(bundle, engines, batches)))
    for precision in running.precisions_here(bundle):
        progress(f"comparing both OpenVINO models in {precision} with FP32")
        candidate = running.embeddings(bundle, batches, precision)
        tolerance = artifacts.TOLERANCES[precision]
        hops.append(_hop(artifacts.stage(precision), onnx, candidate, tolerance))
    figures += token_outputs.compare(loaded, bundle, inputs)
    if server is not None:
        progress(f"comparing the server at {server}")
        hops.append(_served(server, bundle, inputs, onnx))
    figures += [figure for hop in hops for figure in hop.figures]
    verified = bundle.with_info(parity=[figure.model_dump() for figure in figures])
    verified.save()
    return Verified(verified, tuple(hops))


def compare_inputs(
    checkpoint: DualEncoder, folder: Path, text: TextSpec, inputs: Inputs
) -> list[Parity]:
    """The two exact hops: token ids and pixels, by the code that runs in the server."""
    transform = code.text_transform(text, folder)
    ids = parity.compare_exact(
        "token ids",
        [checkpoint.token_ids([t])[0] for t in inputs.texts],
        list(transform.pad(transform.encode(inputs.texts), text.context_length)),
    )
    pixels = parity.compare_exact(
        "pixels",
        [reference_pixels(checkpoint, encoded) for encoded in inputs.images],
        _pixels(checkpoint.image, inputs),
    )
    return [ids, pixels]


def compare_pairs(
    stage: str, reference: Pair, candidate: Pair, tolerance: parity.Tolerance | None = None
) -> list[Parity]:
    """Compare both towers' embeddings at one hop, with the agreement of retrieval across them.

    The tolerance is the stage's own unless another is given.
    """
    tolerance = tolerance or parity.TOLERANCES[stage]
    agreement = parity.retrieval_agreement(
        (reference.images, reference.texts), (candidate.images, candidate.texts), tolerance.tie
    )
    images = parity.compare(f"{stage} image", reference.images, candidate.images, tolerance)
    texts = parity.compare(f"{stage} text", reference.texts, candidate.texts, tolerance)
    passed = texts.passed and agreement >= tolerance.min_retrieval
    return [
        images,
        texts.model_copy(update={"retrieval_agreement": agreement, "passed": passed}),
    ]


def reference_pixels(checkpoint: DualEncoder, encoded: bytes) -> npt.NDArray[np.uint8]:
    """What the checkpoint's own transform makes of an image before it is normalised."""
    from PIL import Image

    return checkpoint.pixels(Image.open(io.BytesIO(encoded)))


def reference_embeddings(checkpoint: DualEncoder, inputs: Inputs) -> Pair:
    """Embeddings by the checkpoint's own library: its transform, tokenizer and towers, in FP32."""
    from PIL import Image

    return Pair(
        np.concatenate(
            [
                checkpoint.embed_images([Image.open(io.BytesIO(encoded)) for encoded in some])
                for some in _batches(inputs.images)
            ]
        ),
        np.concatenate([checkpoint.embed_texts(some) for some in _batches(inputs.texts)]),
    )


@dataclass(frozen=True)
class Batches:
    """Inputs as the server's own code turns them into tensors."""

    pixels: Tensors
    token_ids: Tensors
    """One text each, at the length it would have alone: the shortest there is."""
    padded_ids: Tensors
    """The texts together, at the length of the longest."""

    @classmethod
    def of(cls, bundle: Bundle, inputs: Inputs) -> Batches:
        """Preprocess and tokenize `inputs`."""
        pixels = _pixels(bundle.info.image, inputs)
        transform = code.text_transform(bundle.info.text, bundle.path)
        ids = transform.encode(inputs.texts)
        return cls(
            [np.stack(some) for some in _batches(pixels)],
            [transform.pad([one]) for one in ids],
            _batches(transform.pad(ids)),
        )

    def of_tower(self, tower: Tower) -> Tensors:
        """What the encoder of `tower` takes."""
        return self.pixels if tower == "image" else self.token_ids


def onnx_embeddings(bundle: Bundle, batches: Batches, precision: Precision = "fp32") -> Pair:
    """Embeddings by the bundle's graphs at `precision`."""
    from tritonclip_export.precision.running import open_encoder

    def embeddings(tower: Tower) -> Embeddings:
        file = bundle.file(bundle.artifact(tower, precision=precision).file)
        with open_encoder(file, precision) as encode:
            return run(encode, batches.of_tower(tower))

    return Pair(embeddings("image"), embeddings("text"))


def run(encode: Encode, batches: Tensors) -> Embeddings:
    """Embeddings of all batches, [n, dim]."""
    return np.concatenate([encode(batch) for batch in batches])


def _hop(
    stage: str, reference: Pair, candidate: Pair, tolerance: parity.Tolerance | None = None
) -> Hop:
    tolerance = tolerance or parity.TOLERANCES[stage]
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
    stage = "served" if info.preprocess == "exact" else f"served ({info.preprocess})"
    tolerance = parity.served_tolerance(info.precision, info.preprocess)
    return _hop(stage, onnx, embedded, tolerance)


def _pixels(image: Any, inputs: Inputs) -> list[npt.NDArray[np.uint8]]:
    transform = code.image_transform(image)
    return [transform.pixels(encoded) for encoded in inputs.images]


def _batches(items: Any) -> list[Any]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
