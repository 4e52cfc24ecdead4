"""Where a figure is kept, with where and with what it was measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tritonclip_export.bench import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"


def report(name: str, figures: dict[str, Any]) -> None:
    """Print what was found, with how busy the machine was meanwhile, and `save` it."""
    figures = {**figures, "load_average": round(os.getloadavg()[0], 1)}
    print(json.dumps(figures, indent=2))
    print(save(name, figures))


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
