"""`verify`: parity hop by hop, from the checkpoint's own library to the running server.

Each hop is compared with the one before it, on the same real inputs:

    token ids   the checkpoint's own     -> the server's tokenizing code    every id equal
    pixels      the checkpoint's own     -> the server's preprocessing code every value equal
    onnx        PyTorch, FP32            -> the bundle's graphs in ONNX Runtime
    served      the bundle's graphs      -> embeddings over the network
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tritonclip_export import parity, sources, token_outputs
from tritonclip_export.bundle import Bundle, Parity, TextSpec, Tower
from tritonclip_export.dual_encoder import DualEncoder
from tritonclip_export.errors import CheckpointError, ParityError, RepositoryError
from tritonclip_export.graph import Encoder

Embeddings = npt.NDArray[np.float32]

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


@dataclass(frozen=True)
class Pair:
    """Embeddings of the images and of the texts, [n, dim] each."""

    images: Embeddings
    texts: Embeddings


def verify(
    bundle: Bundle,
    inputs: Inputs,
    *,
    checkpoint: str | None = None,
    hub_folder: Path | None = None,
    server: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Measure every hop and record the figures in `bundle.json`, whether they pass or not.

    Args:
        bundle: the bundle.
        inputs: what to measure on.
        checkpoint: a reference, if the one that was exported has moved.
        hub_folder: where to take the hub's files from; None asks the hub.
        server: the address of a server that serves the bundle, to measure it as well.
        progress: told of each step as it begins.

    Returns:
        The bundle with the new figures.

    Raises:
        BundleError: a file of the bundle is damaged.
        CheckpointError: the checkpoint cannot be loaded, or is not the one that was exported.
        TritonClipError: the server cannot be reached or does not serve the bundle.
    """
    from tritonclip_export import checkpoint as checkpoints

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
    onnx = onnx_embeddings(bundle, inputs)
    figures += compare_pairs("onnx", reference_embeddings(loaded, inputs), onnx)
    figures += token_outputs.compare(loaded, bundle, inputs)
    if server is not None:
        progress(f"comparing the server at {server}")
        figures += compare_pairs("served", onnx, _served_embeddings(server, bundle, inputs))
    verified = bundle.with_info(parity=[figure.model_dump() for figure in figures])
    verified.save()
    return verified


def compare_inputs(
    checkpoint: DualEncoder, folder: Path, text: TextSpec, inputs: Inputs
) -> list[Parity]:
    """The two exact hops: token ids and pixels, by the code that runs in the server."""
    transform = sources.text_transform(text, folder)
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


def compare_pairs(stage: str, reference: Pair, candidate: Pair) -> list[Parity]:
    """Compare both towers' embeddings at one hop, with the agreement of retrieval across them."""
    tolerance = parity.TOLERANCES[stage]
    agreement = parity.retrieval_agreement(
        (reference.images, reference.texts), (candidate.images, candidate.texts)
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


def onnx_embeddings(bundle: Bundle, inputs: Inputs) -> Pair:
    """Embeddings by the bundle's FP32 graphs, on the server's own pixels and token ids."""

    def embeddings(tower: Tower, batches: Sequence[Any]) -> Embeddings:
        encode = Encoder(bundle.file(bundle.artifact(tower).file), packed=False)
        return np.concatenate([encode(batch) for batch in batches])

    transform = sources.text_transform(bundle.info.text, bundle.path)
    pixels = [np.stack(some) for some in _batches(_pixels(bundle.info.image, inputs))]
    # One text at a time: each at the length it would have alone, the shortest the server uses.
    ids = [transform.pad([row]) for row in transform.encode(inputs.texts)]
    return Pair(embeddings("image", pixels), embeddings("text", ids))


def _served_embeddings(server: str, bundle: Bundle, inputs: Inputs) -> Pair:
    from tritonclip import Client

    with Client(server, model=bundle.name) as client:
        served = client.info().weights_sha256
        if served != bundle.info.source.weights_sha256:
            raise RepositoryError(
                f"the server's {bundle.name} was assembled from other weights ({served[:12]}...) "
                f"than this bundle; assemble it again"
            )
        return Pair(client.embed_images(inputs.images), client.embed_texts(inputs.texts))


def _pixels(image: Any, inputs: Inputs) -> list[npt.NDArray[np.uint8]]:
    transform = sources.image_transform(image)
    return [transform.pixels(encoded) for encoded in inputs.images]


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
