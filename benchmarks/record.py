"""Where a figure is kept, with where and with what it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tritonclip_export.bench import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"


def save(name: str, figures: Any) -> Path:
    """Write `results/NAME.json`: the figures, the machine, versions and the date (UTC)."""
    versions = environment.versions("torch", "open_clip_torch", "openvino", "nncf")
    content = {
        "date": environment.now()[:10],
        "machine": machine(),
        "python": versions.pop("python"),
        "packages": versions,
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def machine() -> str:
    """Processor, cores and memory, in words."""
    here = environment.machine()
    return f"{here.cpu}, {here.cores} vCPU, {here.memory_gib:.0f} GiB"
