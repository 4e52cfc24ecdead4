"""Embeddings of the images and of the texts, and how far two stages' are apart."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Parity, TextSpec
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.graph.encoder import Encode
from tritonclip_export.parity.figures import (
    TOLERANCES,
    Tolerance,
    compare,
    compare_exact,
    retrieval_agreement,
)
from tritonclip_export.parity.inputs import Embeddings, Inputs, Tensors, in_batches, served_pixels
from tritonclip_export.served import code


@dataclass(frozen=True)
class Pair:
    """Embeddings of the images and of the texts, [n, dim] each."""

    images: Embeddings
    texts: Embeddings


def compare_inputs(
    checkpoint: DualEncoder, folder: Path, text: TextSpec, inputs: Inputs
) -> list[Parity]:
    """The two exact hops: token ids and pixels, by the code that runs in the server."""
    transform = code.text_transform(text, folder)
    ids = compare_exact(
        "token ids",
        [checkpoint.token_ids([t])[0] for t in inputs.texts],
        list(transform.pad(transform.encode(inputs.texts), text.context_length)),
    )
    pixels = compare_exact(
        "pixels",
        [referenceserved_pixels(checkpoint, encoded) for encoded in inputs.images],
        served_pixels(checkpoint.image, inputs),
    )
    return [ids, pixels]


def compare_pairs(
    stage: str, reference: Pair, candidate: Pair, tolerance: Tolerance | None = None
) -> list[Parity]:
    """Compare both towers' embeddings at one hop, with the agreement of retrieval across them.

    The tolerance is the stage's own unless another is given.
    """
    tolerance = tolerance or TOLERANCES[stage]
    agreement = retrieval_agreement(
        (reference.images, reference.texts), (candidate.images, candidate.texts), tolerance.tie
    )
    images = compare(f"{stage} image", reference.images, candidate.images, tolerance)
    texts = compare(f"{stage} text", reference.texts, candidate.texts, tolerance)
    passed = texts.passed and agreement >= tolerance.min_retrieval
    return [
        images,
        texts.model_copy(update={"retrieval_agreement": agreement, "passed": passed}),
    ]


def referenceserved_pixels(checkpoint: DualEncoder, encoded: bytes) -> npt.NDArray[np.uint8]:
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
                for some in in_batches(inputs.images)
            ]
        ),
        np.concatenate([checkpoint.embed_texts(some) for some in in_batches(inputs.texts)]),
    )


def run(encode: Encode, batches: Tensors) -> Embeddings:
    """Embeddings of all batches, [n, dim]."""
    return np.concatenate([encode(batch) for batch in batches])
