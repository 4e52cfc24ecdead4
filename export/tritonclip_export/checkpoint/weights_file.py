"""Files of weights, told apart by how they begin before a library is asked to load one."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tritonclip_export.errors import CheckpointError

# NumPy's, in which Google's big_vision publishes SigLIP; they are read without pickle.
_NUMPY = (".npz", ".npy")
_PICKLE = b"\x80"  # the opcode PROTO, which every pickle since protocol 2 begins with


def check(file: Path) -> None:
    """Make sure that a file looks like weights of PyTorch, safetensors or big_vision.

    Raises:
        CheckpointError: it does not; says what it is instead.
    """
    if problem := _problem(file):
        raise CheckpointError(
            f"{file} {problem}. Weights are a .safetensors file, or what torch.save wrote of a "
            "state_dict"
        )


def _problem(file: Path) -> str | None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        begin = stream.read(9)
    if not begin:
        return "is empty"
    if file.suffix == ".safetensors":
        header = int.from_bytes(begin[:8], "little")
        if header > size - 8 or begin[8:] != b"{":
            return "is no safetensors file, or its end is missing"
        return None
    if file.suffix in _NUMPY or begin.startswith(_PICKLE):
        return None
    if not zipfile.is_zipfile(file):
        if begin.startswith(b"PK"):
            return "is a zip archive whose end is missing"
        return "is not a file of weights"
    with zipfile.ZipFile(file) as archive:
        if not any(name.endswith("/data.pkl") for name in archive.namelist()):
            return "is a zip archive, but holds no weights of PyTorch"
    return None
