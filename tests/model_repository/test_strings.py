"""The server unpacks strings as Triton's own function does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor


@pytest.mark.parametrize(
    "strings",
    [[b"cat"], [b"", b"", b"cat"], ["naïve 猫".encode(), b"\xff\x00\n", bytes(70_000)], [b""], []],
)
def test_strings_are_those_of_tritons_own_function(root: Path, strings: list[bytes]) -> None:
    file = root / "model_repository/zero_shot/1/strings.py"
    spec = importlib.util.spec_from_file_location("strings", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packed = serialize_byte_tensor(np.array(strings, np.object_))
    encoded = np.frombuffer(packed.item() if len(strings) else b"", np.uint8)

    unpacked = module.deserialize(encoded)

    assert unpacked.tolist() == strings == deserialize_bytes_tensor(bytes(encoded)).tolist()
    assert unpacked.shape == (len(strings),)
    assert unpacked.dtype == np.object_
