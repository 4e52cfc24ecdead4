"""What a server makes of the cores that it may use, by its own code."""

from tritonclip_export.served.sources import load

_FILE = "image_preprocess/1/cores.py"


def usable() -> int:
    """The cores that a server would use, were it started where this process was."""
    return int(load(_FILE).usable())


def threads() -> int:
    """How many threads to ask ONNX Runtime for, as a server's encoder does; 0 is its own choice."""
    return int(load(_FILE).threads(0))
