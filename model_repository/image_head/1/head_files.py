"""Heads, read from the files that `assemble` writes, and what they compute.

The files are safetensors: eight bytes of length, so much JSON that says where each tensor lies,
then the tensors. Reading that here spares the server's image a package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Head:
    """Linear layers, which of them a ReLU follows, and what the last one gives."""

    layers: tuple[tuple[FloatArray, FloatArray, bool], ...]
    output: str

    @classmethod
    def read(cls, file: Path) -> Head:
        """The head in a file of the layout that `tritonclip head train` writes."""
        encoded = file.read_bytes()
        start = 8 + int.from_bytes(encoded[:8], "little")
        header = json.loads(encoded[8:start])
        card = json.loads(header["__metadata__"]["tritonclip_head"])

        def tensor(name: str) -> FloatArray:
            entry = header[name]
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(encoded[start + begin : start + end], "<f4")
            return flat.reshape(entry["shape"])

        layers = tuple(
            (tensor(f"layers.{place}.weight"), tensor(f"layers.{place}.bias"), bool(relu))
            for place, relu in enumerate(card["relus"])
        )
        return cls(layers, card["output"])

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Scores or probabilities [vectors, labels] of unit vectors [vectors, dim], float32."""
        values = vectors
        for weight, bias, relu in self.layers:
            values = values @ weight.T + bias
            if relu:
                values = np.maximum(values, 0)
        if self.output == "score":
            return np.asarray(values, np.float32)
        logits = values.astype(np.float64)
        if self.output == "sigmoid":
            return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
