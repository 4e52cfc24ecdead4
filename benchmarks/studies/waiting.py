"""How long one waits: for `export`, step by step, and until `serve` is ready.

    python -m benchmarks.studies.waiting demo/checkpoint bundles/demo bundles/ViT-L-14

Processes are started anew each time, as by a user; files have been read before, so that disks don't
count. Beside `serve` stands what any server would need: a process that has ONNX Runtime read both
encoders.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.studies.changes import Repository
from tritonclip_export.bundle import TOWERS, Bundle
from tritonclip_export.repository.assemble import assemble

TRITONCLIP = str(Path(sys.executable).with_name("tritonclip"))

STEPS = """
import json, sys, time
steps = []
def step(name):
    steps.append((name, time.time()))
step("importing PyTorch")
import torch
step("importing what reads checkpoints, and reading this one")
from pathlib import Path
from tritonclip_export.checkpoint.loading import load, parse
loaded = load(parse(sys.argv[1]))
step("importing the exporter")
import onnxscript, torch.onnx
from tritonclip_export.export.writing import export
export(loaded, Path(sys.argv[2]), name="waiting", progress=step)
step("")
print(json.dumps([(name, end - at) for (name, at), (_, end) in zip(steps, steps[1:])]))
"""

READING = """
import sys
import onnxruntime
for file in sys.argv[1:]:
    onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
"""


def export_steps(checkpoint: Path, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each step of an export, the quickest of some."""
    found: list[list[tuple[str, float]]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, "-c", STEPS, str(checkpoint), f"{home}/bundle"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return [
        {"step": steps[0][0], "seconds": min(seconds for _, seconds in steps)}
        for steps in zip(*found, strict=True)
    ]


def export_seconds(checkpoint: Path, rounds: int) -> list[float]:
    """Of the whole command."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            command = [TRITONCLIP, "export", str(checkpoint), "--output", f"{home}/bundle"]
            seconds.append(_seconds(command))
    return seconds


def until_ready(bundle: Bundle, rounds: int) -> dict[str, Any]:
    """Seconds from `serve` to its line that says it is ready, and of reading the encoders alone."""
    files = [bundle.file(bundle.artifact(tower).file) for tower in TOWERS]
    size = sum(bundle.size_of(bundle.artifact(tower)) for tower in TOWERS)
    reading: list[float] = []
    ready: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        repository = Repository(Path(TRITONCLIP), Path(home) / "repository")
        assemble([bundle], repository.folder, runtime="python")
        for _ in range(rounds):
            reading.append(_seconds([sys.executable, "-c", READING, *map(str, files)]))
            with repository.served(ready):
                pass
    mib = round(size / 2**20)
    return {"bundle": bundle.name, "encoders_mib": mib, "reading_s": reading, "ready_s": ready}


def _seconds(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = options.rounds
    figures = {
        "export_steps": export_steps(options.checkpoint, rounds),
        "export_s": export_seconds(options.checkpoint, rounds),
        "served": [until_ready(Bundle.load(folder), rounds) for folder in options.bundles],
    }
    record.report("waiting", figures)


if __name__ == "__main__":
    main()
