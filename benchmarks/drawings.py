"""The demo's held-out drawings, and their names."""

from __future__ import annotations

import json
import zipfile

from benchmarks import record

DEMO = record.ROOT / "demo"


def drawings() -> dict[str, bytes]:
    """PNG files by the name of what they show, in the order of the archive."""
    with zipfile.ZipFile(DEMO / "twemoji.zip") as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        return {label: archive.read(f"{slug}.png") for slug, label in labels.items()}
