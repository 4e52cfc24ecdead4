"""Where and with what something was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone

from tritonclip_export.bench.results import Machine
from tritonclip_export.errors import EngineError
from tritonclip_export.machine import cpu, gpus

PACKAGES = ("tritonclip", "nvidia-pytriton", "onnxruntime", "numpy", "pillow", "tokenizers")


def machine() -> Machine:
    """This one."""
    processor = cpu.this()
    try:
        found = tuple(f"{gpu.name}, driver {gpu.driver}" for gpu in gpus.listed())
    except EngineError:
        found = ()
    return Machine(
        cpu=processor.model,
        cores=os.cpu_count() or 1,
        features=processor.features or (),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        gpus=found,
        system=platform.platform(),
    )


def versions(*more: str) -> dict[str, str]:
    """Of Python, of the packages that matter and of `more`, those that are installed."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
