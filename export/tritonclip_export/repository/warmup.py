"""Warm-up requests: real sample data that a model runs before it counts as ready.

The first request to a cold model pays for lazy allocation and kernel selection; Triton sends these
before it reports the model ready. The data lies in `MODEL/warmup/`, where Triton looks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip_export import samples
from tritonclip_export.bundle import Bundle, bucket_lengths
from tritonclip_export.served import code

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
    photograph = samples.sample_images()[0]
    if model == "image_preprocess":
        return [_string(photograph.stem, "IMAGE", photograph.read_bytes())]
    if model == "image_encoder":
        pixels = code.image_transform(bundle.info.image).pixels(photograph.read_bytes())
        return [Sample("image", "PIXELS", "TYPE_UINT8", pixels.shape, pixels.tobytes())]
    if model == "text_tokenize":
        return [_string("text", "TEXT", TEXT.encode())]
    if model == "text_encoder":
        return _token_ids(bundle)
    return []


def add(
    config: Any,
    folder: Path,
    items: Sequence[Sample],
    batches: Callable[[tuple[int, ...]], Sequence[int]],
) -> None:
    """Write `items` below `folder`, a model's, and request each in `config`.

    Triton makes a batch of n by sending the one item n times at once; `batches` gives the sizes to
    run for an item of some dims.
    """
    for item in items:
        (folder / "warmup").mkdir(exist_ok=True)
        (folder / "warmup" / item.name).write_bytes(item.content)
        for batch in batches(item.dims):
            request = config.model_warmup.add(name=f"{item.name}, batch {batch}", batch_size=batch)
            tensor = request.inputs[item.tensor]
            tensor.data_type = item.data_type
            tensor.dims[:] = item.dims
            tensor.input_data_file = item.name


def _string(name: str, tensor: str, value: bytes) -> Sample:
    return Sample(name, tensor, "TYPE_STRING", (1,), struct.pack("<I", len(value)) + value)


def _token_ids(bundle: Bundle) -> list[Sample]:
    """One sample of every length that the tokenizer pads to."""
    transform = code.text_transform(bundle.info.text, bundle.path)
    (ids,) = transform.encode([TEXT])
    return [
        Sample(
            f"length_{length}",
            "TOKEN_IDS",
            "TYPE_INT32",
            (length,),
            transform.pad([ids[:length]], length).tobytes(),
        )
        for length in bucket_lengths(bundle.info.text)
    ]
