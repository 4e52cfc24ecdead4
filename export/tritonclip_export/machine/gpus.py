"""The GPUs of this machine, as the NVIDIA driver names them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from tritonclip_export.errors import EngineError

_FIELDS = "name,compute_cap,memory.total,driver_version"


@dataclass(frozen=True)
class Gpu:
    """One GPU; `compute_capability` as in `8.9`, `memory` with its unit."""

    name: str
    compute_capability: str
    memory: str
    driver: str


def visible() -> Gpu:
    """The first GPU that CUDA gives this process.

    Raises:
        EngineError: there is no driver or no GPU.
    """
    # CUDA counts the fastest first, nvidia-smi by PCI slot, unless CUDA is told to do so as well.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    return listed(chosen or None)[0]


def present() -> bool:
    """Whether this machine has a GPU."""
    try:
        return bool(listed())
    except EngineError:
        return False


def listed(device: str | None = None) -> list[Gpu]:
    """The GPUs in PCI order, or the one with that index or UUID.

    Raises:
        EngineError: there is no driver or no GPU; says what was found instead.
    """
    if shutil.which("nvidia-smi") is None:
        raise EngineError("no NVIDIA driver (no nvidia-smi)")
    asked = subprocess.run(
        [
            "nvidia-smi",
            f"--query-gpu={_FIELDS}",
            "--format=csv,noheader",
            *([f"--id={device}"] if device else []),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if asked.returncode != 0 or not asked.stdout.strip():
        raise EngineError(f"nvidia-smi: {(asked.stdout + asked.stderr).strip()}")
    return [Gpu(*map(str.strip, line.split(","))) for line in asked.stdout.strip().splitlines()]
