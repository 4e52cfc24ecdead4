"""TensorRT or TensorRT-RTX: finding it, judging its version, loading it for Polygraphy.

Both have one API, and Polygraphy drives either, but only one in a process: the choice is made
before its TensorRT modules are imported.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tritonclip_export.errors import EngineError

Compiler = Literal["tensorrt", "tensorrt-rtx"]

# The first whose strongly typed networks take every graph that this package writes.
OLDEST = (10, 12)

INSTALL: dict[Compiler, str] = {
    "tensorrt": 'pip install "tritonclip[tensorrt]"',
    "tensorrt-rtx": 'pip install "tritonclip[tensorrt-rtx]"',
}
UPGRADE = f'pip install "tensorrt>={OLDEST[0]}.{OLDEST[1]}"'
ALTERNATIVES = (
    "`--container` builds inside the serving image instead, with nothing to install but Docker; "
    "`--aot --target sm89` needs no GPU, but its engines are for ONNX Runtime with TensorRT-RTX, "
    "not for Triton"
)

_RTX_LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"
_RTX_BINDINGS = "tensorrt_rtx_bindings"


@dataclass(frozen=True)
class Library:
    """A loaded compiler."""

    compiler: Compiler
    version: str
    module: Any

    @property
    def built_with(self) -> dict[str, str]:
        """For `Artifact.built_with`."""
        return {self.compiler: self.version, "polygraphy": importlib.metadata.version("polygraphy")}


def load(compiler: Compiler) -> Library:
    """Load TensorRT or TensorRT-RTX and point Polygraphy at it.

    Raises:
        EngineError: it is not installed, too old, or the process already uses the other one.
    """
    if importlib.util.find_spec("polygraphy") is None:
        raise EngineError(f"Polygraphy, which drives {compiler}, is missing: {INSTALL[compiler]}")
    from polygraphy import config

    wants_rtx = compiler == "tensorrt-rtx"
    module = _tensorrt_rtx() if wants_rtx else _tensorrt()
    if "polygraphy.backend.trt" in sys.modules and wants_rtx != config.USE_TENSORRT_RTX:
        raise EngineError("one process can use TensorRT or TensorRT-RTX, not both; start another")
    config.USE_TENSORRT_RTX = wants_rtx
    return Library(compiler=compiler, version=module.__version__, module=module)


def check_version(version: str) -> None:
    """Refuse a full TensorRT that is too old for strongly typed graphs.

    Raises:
        EngineError: it is older than 10.12.
    """
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old: precision is a property of the graph here, and takes "
            f"the strongly typed networks of {OLDEST[0]}.{OLDEST[1]} or later. {UPGRADE}, or build "
            "with --container in a serving image from 25.08 on"
        )


def _tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            f"TensorRT is not installed here ({error}). {INSTALL['tensorrt']} brings it, on a "
            f"machine with an NVIDIA GPU; {ALTERNATIVES}"
        ) from error
    check_version(tensorrt.__version__)
    return tensorrt


def _tensorrt_rtx() -> Any:
    """TensorRT-RTX from its own package, or with the libraries of ONNX Runtime's plugin."""
    try:
        import tensorrt_rtx
    except ImportError:
        pass
    else:
        return tensorrt_rtx
    libraries = _folder_of(_RTX_LIBRARIES)
    if libraries is None or _folder_of(_RTX_BINDINGS) is None:
        raise EngineError(
            f"TensorRT-RTX is not installed here. {INSTALL['tensorrt-rtx']} brings it "
            "(Linux on x86-64); it compiles without a GPU"
        )
    # The parser's library looks for symbols of the first, and the bindings for those of both.
    for name in ("libtensorrt_rtx", "libtensorrt_onnxparser_rtx"):
        (file, *_) = sorted(libraries.glob(f"{name}.so.*"), key=lambda path: -len(path.name))
        ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
    module = importlib.import_module(_RTX_BINDINGS)
    sys.modules["tensorrt_rtx"] = module  # the name under which Polygraphy imports it
    return module


def _folder_of(package: str) -> Path | None:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None
