"""The dual encoder: a loaded checkpoint, whichever library it belongs to.

Everything that differs between libraries is behind this class. One half of it is the reference,
the checkpoint's own library doing the whole job; the other half is what is exported in its place.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import ImageSpec, Similarity, Source

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from tritonclip_export.checkpoint.tokenizer import ServedTokenizer


@dataclass(frozen=True)
class DualEncoder(ABC):
    """Two towers that share an embedding space, in FP32 on the CPU, and everything around them."""

    source: Source
    dim: int
    image: ImageSpec
    similarity: Similarity
    dynamic_length: bool
    """Whether the text tower gives the same embedding at every padded length."""

    @abstractmethod
    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The reference's RGB image before it is normalised: [3, height, width]."""

    @abstractmethod
    def token_ids(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """The reference's ids, padded to the context length: [texts, context_length]."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """The reference's unit vectors [images, dim], through its own preprocessing."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The reference's unit vectors [texts, dim], through its own tokenizer."""

    @abstractmethod
    def image_tower(self) -> torch.nn.Module:
        """To trace: normalised pixels [batch, 3, height, width] -> features [batch, dim]."""

    @abstractmethod
    def text_tower(self) -> torch.nn.Module:
        """To trace: token ids [batch, length] int32 -> features [batch, dim].

        `length` is the context length, or anything up to it where `dynamic_length` holds.
        """

    @abstractmethod
    def image_tokens_tower(self, layer: int) -> torch.nn.Module:
        """To trace: normalised pixels -> patch tokens [batch, patches, width] after `layer`.

        Layers count from the end: -1 is the last. No normalisation follows it.

        Raises:
            ExportError: the tower has no patch tokens, or no such layer.
        """

    @abstractmethod
    def text_tokens_tower(self, layer: int) -> torch.nn.Module:
        """To trace: token ids int32 -> hidden states [batch, length, width] after `layer`.

        The tower's final normalisation follows it, whatever the layer.

        Raises:
            ExportError: the tower gives no hidden states, or has no such layer.
        """

    @abstractmethod
    def served_tokenizer(self) -> ServedTokenizer:
        """The tokenizer in the form that runs in the server.

        Raises:
            ExportError: a kind of tokenizer that has no conversion.
        """


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view("uint8"))
    return digest.hexdigest()


def similarity_of(model: Any) -> Similarity:
    """SigLIP-style checkpoints have a bias and were trained with a sigmoid per pair."""
    bias = getattr(model, "logit_bias", None)
    return Similarity(
        kind="softmax" if bias is None else "sigmoid",
        logit_scale=float(model.logit_scale.exp()),
        logit_bias=0.0 if bias is None else float(bias),
    )


def three(value: float | Sequence[float]) -> tuple[float, float, float]:
    """A mean or standard deviation per channel; one number stands for all three."""
    values: tuple[Any, ...] = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    return (float(values[0]), float(values[1]), float(values[2]))
