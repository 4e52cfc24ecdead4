"""The `tritonserver` in the PyPI package `nvidia-pytriton`: where it lies, what it needs to run.

The wheel holds the same server program as NVIDIA's container (2.51, container 24.10), the Python
backend with one stub per Python version, and the local response cache. It has no `tensorrt` and no
`onnxruntime` backend. The stub embeds a Python interpreter, so the server depends on the
environment it is installed in; `locate` checks all of that before anything is started, because the
server's own errors about it are obscure.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonclip.errors import TritonClipError

INSTALL = 'pip install "tritonclip[serve]"'
CONTAINER = "`tritonclip serve --container` runs NVIDIA's image instead"

# The wheel has stubs for 3.8 to 3.13, but they speak the numpy 1 ABI, and numpy 1 has no wheels for
# Python 3.13.
PYTHONS = ("3.10", "3.11", "3.12")
GLIBC = "2.35"  # the wheel is tagged manylinux_2_35
STUB = "triton_python_backend_stub"


class ServerMissingError(TritonClipError):
    """This machine or this environment cannot run the server.

    Attributes:
        problem: what is missing or does not fit.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True)
class TritonServer:
    """A server program whose surroundings have been checked.

    Attributes:
        root: the `tritonserver` folder of the package, with `bin`, `backends` and `caches`.
        version: of `nvidia-pytriton`.
        libraries: what LD_LIBRARY_PATH must hold: the wheel's own libraries, and libpython's folder
            unless the system's loader finds it.
    """

    root: Path
    version: str
    libraries: tuple[Path, ...]

    @property
    def binary(self) -> Path:
        """The program."""
        return self.root / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """For --cache-directory."""
        return self.root / "caches"

    def link_backends(self, folder: Path) -> Path:
        """Fill `folder`, which must exist, with links for --backend-directory.

        The wheel keeps the stubs apart, one per Python version, while the backend looks for one
        stub beside its library.
        """
        backend = folder / "python"
        backend.mkdir()
        for file in (self.root / "backends" / "python").iterdir():
            (backend / file.name).symlink_to(file)
        (backend / STUB).symlink_to(_stub(self.root))
        return folder

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` plus what the server and its models need; all else passes through untouched."""
        return {
            **base,
            "LD_LIBRARY_PATH": _prepend(base.get("LD_LIBRARY_PATH"), *self.libraries),
            # The interpreter in the stub ignores PYTHONPATH and PYTHONHOME. It takes itself for the
            # first `python3` on PATH, and so finds the packages of that one's environment.
            "PATH": _prepend(base.get("PATH", os.defpath), Path(sys.executable).parent),
        }


def locate() -> TritonServer:
    """Find the server of the running interpreter's environment.

    Raises:
        ServerMissingError: the platform, the Python version, a package or libpython does not do.
    """
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise ServerMissingError(
            f"the server from PyPI is built for Linux on x86-64, not for {system} on {machine}",
            CONTAINER,
        )
    version = ".".join(map(str, sys.version_info[:2]))
    if version not in PYTHONS:
        raise ServerMissingError(
            f"the server from PyPI runs on Python {', '.join(PYTHONS)}, not on {version}",
            f"make another environment, say `uv venv --python {PYTHONS[-1]}`, "
            f"and `{INSTALL}` in it; or {CONTAINER}",
        )
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissingError("the package nvidia-pytriton is not installed", INSTALL)
    package = Path(spec.submodule_search_locations[0])
    root = package / "tritonserver"
    for needed in (root / "bin" / "tritonserver", _stub(root)):
        if not needed.exists():
            raise ServerMissingError(f"nvidia-pytriton lacks {needed}", f"reinstall it, {INSTALL}")
    check_numpy()
    libraries = (package.parent / "nvidia_pytriton.libs", *libpython_folder())
    return TritonServer(root, importlib.metadata.version("nvidia-pytriton"), libraries)


def check_numpy() -> str:
    """The version of numpy that the Python models get.

    Raises:
        ServerMissingError: it is not one that the stub can work with.
    """
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        raise ServerMissingError("numpy is not installed", INSTALL) from None
    if int(version.split(".")[0]) >= 2:
        # The models would load, and the stub would crash on the first string it receives.
        raise ServerMissingError(
            f"the server's Python backend is built against numpy 1, this is numpy {version}",
            "pip install 'numpy<2'",
        )
    return version


def libpython_folder() -> tuple[Path, ...]:
    """The folder of this interpreter's shared libpython; none where the system's loader has it.

    Raises:
        ServerMissingError: there is no shared libpython.
    """
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    for folder in (Path(sysconfig.get_config_var("LIBDIR") or "."), Path(sys.base_prefix, "lib")):
        if (folder / name).exists():
            return (folder.absolute(),)
    try:
        ctypes.CDLL(name)
    except OSError:
        raise ServerMissingError(
            f"the Python in {sys.base_prefix} was built without {name}, "
            f"which the server's Python backend embeds",
            f"`apt-get install {name.removesuffix('.so.1.0')}`, or an interpreter that has it: "
            f"conda's, `uv venv --managed-python`, "
            f"or `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install`",
        ) from None
    return ()


def _stub(root: Path) -> Path:
    return root / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / STUB


def _prepend(value: str | None, *folders: Path) -> str:
    """A search path with `folders` in front of what was set."""
    return os.pathsep.join([*map(str, folders), *([value] if value else [])])
