"""Heads as files: safetensors, which hold tensors and nothing that could run.

Beside its own layout it reads those that `published.py` knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tritonclip.types import FloatArray
from tritonclip_search.errors import InvalidHead
from tritonclip_search.heads import published
from tritonclip_search.heads.head import Head, Layer, Output, fit

CARD = "tritonclip_head"
"""The key of the metadata under which a head of ours says what it is, as JSON."""

_OUTPUTS: tuple[Output, ...] = ("score", "sigmoid", "softmax")


def load(path: Path) -> Head:
    """The head in a file.

    Raises:
        InvalidHead: there is no such file, it is not safetensors, or of no layout known here.
    """
    if path.suffix in (".pt", ".pth", ".pkl", ".bin", ".ckpt"):
        raise InvalidHead(
            f"{path} is a pickle, which may run code when it is read. Convert it once: "
            "python -c 'import sys, torch; from safetensors.torch import save_file; "
            "save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])' "
            f"{path} {path.with_suffix('.safetensors')}"
        )
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise InvalidHead(f"{path} cannot be read: {error.strerror}") from error
    return parse(encoded, path.stem, str(path))


def parse(encoded: bytes, name: str, where: str) -> Head:
    """The head in the bytes of a file; see `load`.

    Args:
        encoded: the file's.
        name: the head's, unless the file says another.
        where: what to call the file in errors.
    """
    tensors, metadata = _read(encoded, where)
    sha256 = hashlib.sha256(encoded).hexdigest()
    if CARD in metadata:
        return _ours(tensors, metadata[CARD], sha256, where)
    if head := published.read(tensors):
        return Head(name, head.labels, head.layers, head.output, head.layout, sha256)
    shapes = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in sorted(tensors.items()))
    raise InvalidHead(
        f"{where} holds no head known here: neither one of `tritonclip head train` nor "
        f"{'; '.join(published.KNOWN)}. It has {shapes[:400] or 'no tensors'}"
    )


def to_bytes(head: Head) -> bytes:
    """The file of a head in our own layout, the same bytes for the same head."""
    from safetensors.numpy import save

    card = {
        "name": head.name,
        "labels": list(head.labels),
        "output": head.output,
        "relus": [layer.relu for layer in head.layers],
        "card": dict(head.card),
    }
    tensors = {}
    for place, layer in enumerate(head.layers):
        tensors[f"layers.{place}.weight"] = np.ascontiguousarray(layer.weight, np.float32)
        tensors[f"layers.{place}.bias"] = np.ascontiguousarray(layer.bias, np.float32)
    return bytes(save(tensors, {CARD: json.dumps(card, sort_keys=True)}))


def _read(encoded: bytes, where: str) -> tuple[dict[str, FloatArray], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors

    try:
        tensors = published.without_tower(load_tensors(encoded))
        length = int.from_bytes(encoded[:8], "little")  # of the JSON that a file begins with
        metadata = json.loads(encoded[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidHead(f"{where} is not a safetensors file: {error}") from error
    for key, tensor in tensors.items():
        if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
            raise InvalidHead(f"{where}: the tensor {key} has numbers that are not finite")
    return {key: tensor.astype(np.float32) for key, tensor in tensors.items()}, metadata


def _ours(tensors: Mapping[str, FloatArray], card: str, sha256: str, where: str) -> Head:
    try:
        read = json.loads(card)
        layers = tuple(
            Layer(tensors[f"layers.{place}.weight"], tensors[f"layers.{place}.bias"], bool(relu))
            for place, relu in enumerate(read["relus"])
        )
        head = Head(
            str(read["name"]),
            tuple(map(str, read["labels"])),
            layers,
            read["output"],
            "tritonclip",
            sha256,
            dict(read["card"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidHead(f"{where}: its card cannot be read ({error!r})") from error
    if head.output not in _OUTPUTS or not layers or not fit(layers, len(head.labels)):
        raise InvalidHead(f"{where}: its tensors do not fit together, or not its card")
    return head
