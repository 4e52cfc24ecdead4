"""Warm-up requests: real sample data that a model runs before it counts as ready.

The first request to a cold model pays for lazy allocation and kernel selection; Triton sends these
before it reports the model ready. The data lies in `MODEL/warmup/`, where Triton looks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tritonclip_export import samples, sources
from tritonclip_export.bundle import Bundle
from tritonclip_export.tokenizer import bucket_lengths

TEXT = "a photo of a cat"


@dataclass(frozen=True)
class Sample:
    """One item of one input tensor."""

    name: str
    tensor: str
    data_type: str
    dims: tuple[int, ...]
    content: bytes
    """As Triton lays the tensor out; a string behind its length, 4 bytes, little-endian."""


def samples_for(model: str, bundle: Bundle) -> list[Sample]:
    """The samples that warm up `model`, one of the skeletons' names; none for an ensemble."""
    image = samples.sample_images()[0].read_bytes()
    if model == "image_preprocess":
        return [_string(samples.sample_images()[0].stem, "IMAGE", image)]
    if model == "image_encoder":
        pixels = sources.image_transform(bundle.info.image).pixels(image)
        return [Sample("image", "PIXELS", "TYPE_UINT8", pixels.shape, pixels.tobytes())]
    if model == "text_tokenize":
        return [_string("text", "TEXT", TEXT.encode())]
    if model == "text_encoder":
        return [_token_ids(bundle, length) for length in bucket_lengths(bundle.info.text)]
    return []


def add(config: Any, folder: Path, items: Sequence[Sample], batch_sizes: Sequence[int]) -> None:
    """Write `items` below `folder`, a model's, and request each at every batch size in `config`."""
    for item in items:
        (folder / "warmup").mkdir(exist_ok=True)
        (folder / "warmup" / item.name).write_bytes(item.content)
        for size in batch_sizes:
            request = config.model_warmup.add(name=f"{item.name}, batch {size}", batch_size=size)
            tensor = request.inputs[item.tensor]
            tensor.data_type = item.data_type
            tensor.dims[:] = item.dims
            tensor.input_data_file = item.name


def _string(name: str, tensor: str, value: bytes) -> Sample:
    return Sample(name, tensor, "TYPE_STRING", (1,), struct.pack("<I", len(value)) + value)


def _token_ids(bundle: Bundle, length: int) -> Sample:
    text = bundle.info.text
    ids = np.full(length, text.pad_id, np.int32)
    real = sources.text_transform(text, bundle.path).encode([TEXT])[0][:length]
    ids[: len(real)] = real
    return Sample(f"length_{length}", "TOKEN_IDS", "TYPE_INT32", (length,), ids.tobytes())
