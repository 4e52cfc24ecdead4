"""NVIDIA's `trtexec`: the flags of an engine, and what its log and its layer information tell.

Its words are those of its source, releases 10.12 to 11 (samples/common in NVIDIA/TensorRT); it has
not been run by this project.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.bundle import HardwareCompatibility
from tritonclip_export.errors import EngineError
from tritonclip_export.tensorrt.bindings import INPUTS
from tritonclip_export.tensorrt.engines import Job
from tritonclip_export.tensorrt.options import Options

_COMPATIBILITY: dict[HardwareCompatibility, str] = {
    "same_compute_capability": "sameComputeCapability",
    "ampere_plus": "ampere+",
}
_CAPABILITY = re.compile(r"Compute Capability: (\d+\.\d+)")
_VERSION = re.compile(r"TensorRT version: (\d+(?:\.\d+)+)")
_SECONDS = re.compile(r"Engine built in ([\d.]+) sec")
_MEMORY = re.compile(r"Total Activation Memory: (\d+)")
_PROFILE = re.compile(r" \[profile \d+\]$")


@dataclass(frozen=True)
class Report:
    """What a finished build tells; `names` are those of the engine's tensors."""

    version: str
    compute_capability: str
    seconds: float
    names: frozenset[str]
    layers: int
    device_memory_bytes: int | None


def flags(job: Job, options: Options) -> list[str]:
    """The flags that compile the graph of `job`, named relative to the bundle.

    None holds a space: the build script splits at spaces.
    """
    given = [
        f"--onnx={job.graph.file}",
        "--skipInference",
        "--profilingVerbosity=detailed",
        f"--builderOptimizationLevel={options.optimization_level}",
    ]
    if job.graph.precision == "fp32":
        given.append("--noTF32")  # as in `builder`
    if options.workspace_bytes:
        given.append(f"--memPoolSize=workspace:{options.workspace_bytes // 2**20}")  # in MiB
    if options.hardware_compatibility != "none":
        level = _COMPATIBILITY[options.hardware_compatibility]
        given.append(f"--hardwareCompatibilityLevel={level}")
    if options.version_compatible:
        given.append("--versionCompatible")
    if options.refittable:
        given.append("--refit")
    name = INPUTS[job.graph.tower]
    for number, profile in enumerate(job.profiles):
        given.append(f"--profile={number}")
        for which in ("min", "opt", "max"):
            given.append(f"--{which}Shapes={name}:{_shape(getattr(profile, which))}")
    return given


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def read_report(result: Path) -> Report:
    """Read what `build_engines.sh` left beside `result`.plan.

    Raises:
        EngineError: the log or the layer information lack what every release writes.
    """
    log = result.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    layers = json.loads(result.with_suffix(".layers").read_text(encoding="utf-8"))
    version = result.with_suffix(".version").read_text().strip().partition("+")[0]
    capability, told, seconds = (p.search(log) for p in (_CAPABILITY, _VERSION, _SECONDS))
    if capability is None or not (version or told):
        raise EngineError(
            f"trtexec does not tell its TensorRT version or the GPU; read {result}.log"
        )
    memory = [int(size) for size in _MEMORY.findall(log)]
    return Report(
        version=version or (told[1] if told else ""),
        compute_capability=capability[1],
        seconds=float(seconds[1]) if seconds else 0.0,
        names=frozenset(_PROFILE.sub("", name) for name in layers["Bindings"]),
        layers=len(layers["Layers"]),
        device_memory_bytes=max(memory, default=None),
    )
