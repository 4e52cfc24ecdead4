"""Where and with what a figure was measured, and where it is kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tritonclip", "nvidia-pytriton", "onnxruntime", "torch", "open_clip_torch", "pillow")


def save(name: str, figures: Any) -> Path:
    """Write `results/NAME.json`: the figures, the machine, versions and the date (UTC)."""
    content = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def machine() -> str:
    """Processor, cores and memory, in words."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} vCPU, {memory:.0f} GiB"
