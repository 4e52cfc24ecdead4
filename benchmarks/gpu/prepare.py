"""Lay out what a bare machine with a card lacks, in folders that travel one by one.

    python3 -m benchmarks.gpu.prepare --python PREFIX

The machine is expected to have Python 3.12 with torch for CUDA 13, torchvision, transformers,
tokenizers, safetensors, onnx, onnxscript, ONNX Runtime for the CPU, numpy 2, Pillow, grpcio,
protobuf and psutil, and no network. Wheels are packed anew with LZMA, which pip reads like any
other and which makes them a fifth smaller; that takes minutes, once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.gpu.checkpoints import ROOT
from benchmarks.gpu.payload import pack

KIT, WHEELS = ROOT / "build" / "gpu-kit", ROOT / "build" / "gpu-wheels"
# A machine may take 64 MiB a transfer, of which the checkout is 24.
LIMIT = 38 * 2**20

# In the order in which they travel.
PAYLOADS = {
    "tools": (
        *("open_clip_torch==3.3.0", "timm==1.0.31", "ftfy==6.3.1", "wcwidth==0.9.4"),
        *("pydantic==2.13.4", "pydantic-core==2.46.4", "annotated-types==0.8.0"),
        *("typing-inspection==0.4.5", "tritonclient==2.73.0", "hdrhistogram==0.10.8"),
        *("polygraphy==0.53.6", "python-rapidjson==1.25"),
        # A machine's own may be older than what the code of tritonclient, or of its own
        # sentencepiece, was generated for; newer ones read both.
        *("protobuf==7.36.2", "grpcio==1.85.3"),
    ),
    "onnxruntime": ("onnxruntime-gpu==1.31.1",),
    # The Python backend of this server speaks the numpy 1 ABI.
    "server": ("nvidia-pytriton==0.7.0", "numpy==1.26.4"),
}
PLATFORMS = ("_2_35", "_2_28", "_2_27", "_2_17", "2014")
# Of the standard library, what a server never imports.
UNUSED = {
    *("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"),
    "__pycache__",
}


def main() -> None:
    """Fetch, pack, cut, and say what to do with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--python",
        type=Path,
        required=True,
        help="prefix of a CPython 3.12 with libpython3.12.so, which the server's backend embeds",
    )
    prefix: Path = parser.parse_args().python
    if not (prefix / "lib" / "libpython3.12.so.1.0").exists():
        parser.error(f"{prefix} has no lib/libpython3.12.so.1.0: build it with --enable-shared")
    packed = {
        name: [_packed(wheel) for wheel in _fetched(WHEELS / name, requirements)]
        for name, requirements in PAYLOADS.items()
    }
    packed["tools"].append(_own_wheel())
    packed["server"].append(_python(prefix))
    for folder in pack(packed, KIT, LIMIT):
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{folder.relative_to(ROOT)}  {size / 2**20:.1f} MiB")
    print("benchmarks/gpu/README.md says how they travel")


def _fetched(folder: Path, requirements: Iterable[str]) -> list[Path]:
    """The wheels of these requirements alone, for the machine."""
    if not folder.exists():
        WHEELS.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=WHEELS))
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        what = ("--only-binary=:all:", "--python-version=3.12", "--implementation=cp")
        platforms = [f"--platform=manylinux{version}_x86_64" for version in PLATFORMS]
        subprocess.run([*pip, *what, *platforms, "-d", staged, *requirements], check=True)
        staged.rename(folder)
    return sorted(folder.glob("*.whl"))


def _own_wheel() -> Path:
    """This checkout's: for its metadata, as its code comes from the checkout itself."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    subprocess.run([*pip, "--wheel-dir", WHEELS, ROOT], check=True)
    return next(WHEELS.glob("tritonclip-*.whl"))


def _packed(wheel: Path) -> Path:
    """The wheel with its files compressed by LZMA."""
    target = WHEELS / "packed" / wheel.name
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        staged = target.with_suffix(".staged")
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(staged, "w") as packed:
            for entry in source.infolist():
                again = zipfile.ZipInfo(entry.filename, entry.date_time)
                again.external_attr, again.compress_type = entry.external_attr, zipfile.ZIP_LZMA
                packed.writestr(again, source.read(entry))
        staged.replace(target)
    return target


def _python(prefix: Path) -> Path:
    """An interpreter with its library, for the server: the machine's own may have none."""
    target = WHEELS / "packed" / "python.tar.xz"

    def used(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        static = entry.name.endswith(".a")
        return None if static or UNUSED.intersection(Path(entry.name).parts) else entry

    if not target.exists():
        with tempfile.TemporaryDirectory() as scratch, tarfile.open(target, "w:xz") as archive:
            library = Path(scratch) / "libpython3.12.so.1.0"
            subprocess.run(["strip", "-o", library, prefix / "lib" / library.name], check=True)
            archive.add(library, f"lib/{library.name}")
            archive.add(prefix / "bin" / "python3.12", "bin/python3")
            archive.add(prefix / "lib" / "python3.12", "lib/python3.12", filter=used)
    return target


if __name__ == "__main__":
    main()
