"""What is installed: Python, packages by what they are for, the server from PyPI, TensorRT."""

import importlib.metadata
import os
import platform
import subprocess

from tritonclip_export.doctor.check import Check
from tritonclip_export.errors import EngineError
from tritonclip_export.openvino import library as openvino
from tritonclip_export.server import tritonserver
from tritonclip_export.server.tritonserver import ServerMissingError
from tritonclip_export.tensorrt import library

# The packages whose absence each task would notice first. `client` is the bare install; the others
# say how they are installed.
PACKAGES: dict[str, tuple[str, ...]] = {
    "client": ("numpy", "pillow", "tritonclient", "grpcio", "typer", "rich"),
    "export": ("torch", "torchvision", "open_clip_torch", "onnx", "onnxscript", "onnxruntime"),
    "serve": ("nvidia-pytriton", "onnxruntime", "tokenizers", "ftfy"),
    "tensorrt": ("tensorrt", "polygraphy"),
    "tensorrt-rtx": (
        "tensorrt-rtx-cu13-bindings",
        "onnxruntime-ep-nv-tensorrt-rtx-cu13",
        "polygraphy",
    ),
    "openvino": ("openvino", "nncf"),
    "gpu": ("onnxruntime-gpu",),
}
INSTALL: dict[str, str] = {
    "client": "pip install tritonclip",
    "export": 'pip install "tritonclip[export]"',
    "serve": tritonserver.INSTALL,
    "tensorrt": library.INSTALL["tensorrt"],
    "tensorrt-rtx": library.INSTALL["tensorrt-rtx"],
    "openvino": openvino.INSTALL,
    # Both packages own the module `onnxruntime`: together they break each other.
    "gpu": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
}
_STAND_INS = {"onnxruntime": "onnxruntime-gpu"}


def python() -> Check:
    """Whether this Python can also run the server."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    found += f" on {platform.system()} {platform.machine()}"
    if ".".join(platform.python_version_tuple()[:2]) in tritonserver.PYTHONS:
        return Check("python", "ok", found)
    return Check(
        "python",
        "warn",
        found,
        f"client and export run here; the server from PyPI needs one of "
        f"{', '.join(tritonserver.PYTHONS)}",
    )


def installed(extra: str) -> Check:
    """Whether the packages of an extra are there, and new enough."""
    versions = {
        package: _version(package) or _version(_STAND_INS.get(package, package))
        for package in PACKAGES[extra]
    }
    absent = [package for package, version in versions.items() if version is None]
    present = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    if absent:
        found = f"no {', '.join(absent)}" + (f"; {present}" if present else "")
        return Check(f"packages: {extra}", "missing", found, INSTALL[extra])
    if extra == "tensorrt":
        try:
            library.check_version(str(versions["tensorrt"]))
        except EngineError as error:
            return Check(f"packages: {extra}", "missing", str(error), library.UPGRADE)
    return Check(f"packages: {extra}", "ok", present)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def numpy() -> Check:
    """Whether numpy is of the version that the server from PyPI works with."""
    return Check("numpy for the server", "ok", f"numpy {tritonserver.check_numpy()}")


def libpython() -> Check:
    """Whether the server's Python backend finds the interpreter's library."""
    folders = tritonserver.libpython_folder()
    return Check("libpython", "ok", str(folders[0]) if folders else "known to the system's loader")


def server() -> Check:
    """Whether the server from PyPI starts."""
    server = tritonserver.locate()
    tried = subprocess.run(
        [server.binary, "--help"],
        env=server.environment(os.environ),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if "Usage: tritonserver" not in tried.stdout + tried.stderr:
        reason = (tried.stderr or tried.stdout).strip().splitlines()
        raise ServerMissingError(
            f"tritonserver does not run: {reason[0] if reason else tried.returncode}",
            f"it needs glibc {tritonserver.GLIBC} or newer; {tritonserver.CONTAINER}",
        )
    return Check("tritonserver", "ok", f"runs, from nvidia-pytriton {server.version}")
