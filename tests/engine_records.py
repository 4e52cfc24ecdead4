"""Records of engines, as `build` leaves them in `bundle.json`, without a compiler behind them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import Artifact, Binding, Bundle, Engine, Profile, Tower, sha256_of
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.served.model_config import read_config
from tritonclip_export.tensorrt.serving_version import Target

VERSION = "11.1.0.106"
TARGET = Target("26.07", VERSION, "confirmed for 26.07")
BUCKETS = (8, 16, 32)  # the lengths that the demo checkpoint's texts are padded to


def copy_of(bundle: Bundle, folder: Path) -> Bundle:
    """`bundle` in a new folder, to put engines into."""
    shutil.copytree(bundle.path, folder)
    return Bundle.load(folder)


def record(bundle: Bundle, tower: Tower, precision: str = "fp16", **changes: Any) -> Engine:
    """What `build` records of an engine for an L4."""
    height = bundle.info.image.height
    items = [(3, height, height)] if tower == "image" else [(length,) for length in BUCKETS]
    name, dtype = ("PIXELS", "uint8") if tower == "image" else ("TOKEN_IDS", "int32")
    shape = (-1, *items[0]) if tower == "image" else (-1, -1)
    graphs = {(a.tower, a.precision): a for a in bundle.info.artifacts if a.format == "onnx"}
    graph = graphs.get((tower, precision))
    values = {
        "graph_sha256": graph.sha256 if graph else "0" * 64,
        "version": VERSION,
        "compute_capability": "8.9",
        "optimization_level": 3,
        "bindings": (
            Binding(name=name, mode="input", dtype=dtype, shape=shape),
            Binding(name="EMBEDDING", mode="output", dtype="fp32", shape=(-1, bundle.info.dim)),
        ),
        "profiles": profiles(items, opt=16, most=32),
        "build_seconds": 1.0,
        "size_bytes": 1,
    }
    return Engine.model_validate(values | changes)


def profiles(items: Sequence[tuple[int, ...]], opt: int, most: int) -> tuple[Profile, ...]:
    return tuple(Profile(min=(1, *i), opt=(opt, *i), max=(most, *i)) for i in items)


def add(
    bundle: Bundle,
    tower: Tower,
    engine: Engine,
    *,
    precision: str = "fp16",
    format: str = "tensorrt",
) -> Bundle:
    """`bundle` with an engine as `build` adds one."""
    name = f"{tower}.{precision}.{format}.{len(bundle.info.artifacts)}"
    bundle.file(name).write_bytes(name.encode())
    artifact = Artifact(
        tower=tower,
        format=format,
        precision=precision,
        file=name,
        sha256=sha256_of(bundle.file(name)),
        max_batch=32,
        built_with={},
        engine=engine,
    )
    return bundle.with_info(artifacts=(*bundle.info.artifacts, artifact))


def both(bundle: Bundle, precision: str = "fp16", **changes: Any) -> Bundle:
    """`bundle` with an engine for each tower."""
    for tower in ("image", "text"):
        engine = record(bundle, tower, precision, **changes)
        bundle = add(bundle, tower, engine, precision=precision)
    return bundle


def build(bundle: Bundle, target: Target = TARGET, **execution: Any) -> dict[str, Any]:
    """Parsed configs of an assembled repository, by model without the bundle's name."""
    repository = bundle.path.parent / "repository"
    how = Execution(target=target, **execution)
    assemble([bundle], repository, runtime="tensorrt", execution=how)
    return configs(repository)


def configs(repository: Path) -> dict[str, Any]:
    return {
        file.parent.name.removeprefix("demo_"): read_config(file)
        for file in sorted(repository.glob("*/config.pbtxt"))
    }
