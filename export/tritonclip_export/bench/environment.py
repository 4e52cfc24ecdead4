"""When, where and with what something is measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone

from tritonclip_export.bench.results import Environment, Machine
from tritonclip_export.errors import EngineError
from tritonclip_export.machine import cpu, gpus

PACKAGES = ("tritonclip", "nvidia-pytriton", "onnxruntime", "numpy", "pillow", "tokenizers")


def here(*packages: str, **others: str) -> Environment:
    """Now, on this machine.

    Args:
        packages: whose versions matter beside those of `PACKAGES`.
        others: versions of what is no package here, by name.
    """
    return Environment(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=_machine(),
        versions={**_versions(*packages), **others},
    )


def _machine() -> Machine:
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


def _versions(*more: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
