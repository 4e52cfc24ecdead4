"""TensorRT itself, where it is installed: the demo's FP16 engines built for this card.

Its libraries come from NVIDIA's own index, not from PyPI, so the kit does not carry them. Without
them this step says what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu import checkpoints
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.plan import Scale
from tritonclip_export.tensorrt import engines


def measure(journal: Journal, _scale: Scale, home: Path) -> None:
    """Build both engines."""
    journal.measure("demo", lambda: _built(home, journal.seconds_left))


def _built(home: Path, seconds: float) -> dict[str, Any]:
    toolchain = engines.for_this_gpu()
    built = toolchain.build(checkpoints.wait(home, "demo", seconds), "fp16").built
    return {artifact.file: artifact.engine and artifact.engine.version for artifact in built}
