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
    here = environment.here("torch", "open_clip_torch", "openvino", "nncf")
    content = {
        "date": here.day,
        "machine": str(here.machine),
        "python": here.versions["python"],
        "packages": {name: v for name, v in here.versions.items() if name != "python"},
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file
