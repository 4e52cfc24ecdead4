"""Labels, and ready-made requests for the served zero-shot model."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tritonclient.grpc import service_pb2

from tritonclip_export.bench.sending import Request

_COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey", "pink", "purple")
_THINGS = (
    "dog",
    "cat",
    "horse",
    "bird",
    "car",
    "boat",
    "tree",
    "house",
    "flower",
    "chair",
    "table",
)


def labels(count: int, number: int) -> list[str]:
    """Label set `number`: `count` short labels that no other set has."""
    return [
        f"{_COLOURS[i % len(_COLOURS)]} {_THINGS[i % len(_THINGS)]} {number * count + i}"
        for i in range(count)
    ]


def zero_shot_request(bundle: str, image: bytes, label_set: Sequence[str]) -> Request:
    """One image with a label set for `NAME_zero_shot`, as a gRPC message."""
    tensors = {"IMAGE": [image], "LABELS": [label.encode() for label in label_set]}
    message = service_pb2.ModelInferRequest(
        model_name=f"{bundle}_zero_shot",
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name=name, datatype="BYTES", shape=[len(values)]
            )
            for name, values in tensors.items()
        ],
        raw_input_contents=[
            b"".join(struct.pack("<I", len(value)) + value for value in values)
            for values in tensors.values()
        ],
    )
    return Request(message.SerializeToString())
