"""What stands behind `image_encoder` and `text_encoder`, and how it is executed.

Which files of a bundle a runtime serves, the largest batch they take, what is still to be built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritonclip_export.bundle import TOWERS, Bundle, BundleInfo, Precision, Tower, bucket_lengths
from tritonclip_export.errors import RepositoryError
from tritonclip_export.machine import cpu, gpus
from tritonclip_export.repository import plans
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.plans import Item, Plans
from tritonclip_export.repository.runtimes import IN_PYTHON, Device, Runtime

# Of a text encoder. The 64 MB of ViT-B/32's in INT8 ran 16 to 28 % faster with a thread for each
# part of a batch than with two threads for all of it, and a single text took as long; so did the
# 25 MB of the demo's in FP32, while the 254 MB of ViT-B/32's in FP32 took twice as long for a
# single text (two vCPUs of an Intel Xeon, ONNX Runtime 1.32).
SMALL_BYTES = 96 << 20


@dataclass(frozen=True)
class Encoder:
    """One tower as a runtime serves it."""

    tower: Tower
    precision: Precision | None
    """None for engines that are not there yet."""
    max_batch: int
    items: tuple[Item, ...]
    """The shapes that the server sends to it."""
    files: dict[str, Path]
    """Names in the version folder and what lies there."""
    plans: Plans | None = None
    purposes: tuple[str, ...] = ()
    """What there are or should be plans for."""
    missing: dict[str, str] = field(default_factory=dict)
    """Names in the version folder of plans that the bundle does not have, and how to build them."""

    @property
    def is_small(self) -> bool:
        """Whether its products are too small to be shared among threads."""
        return sum(file.stat().st_size for file in self.files.values()) <= SMALL_BYTES


def encoders(bundle: Bundle, runtime: Runtime, execution: Execution) -> dict[Tower, Encoder]:
    """Both towers of `bundle`.

    Raises:
        RepositoryError: the bundle has no graph of the precision asked for, or no engine that can
            be served, but others.
    """
    if runtime == "tensorrt":
        return _from_engines(bundle, execution)
    if runtime == "openvino":
        return _from_openvino(bundle, execution.precision)
    return {tower: _from_graph(bundle, tower, runtime, execution) for tower in TOWERS}


def tokenizes(runtime: Runtime, execution: Execution) -> bool:
    """Whether the text encoder takes texts, and tokenizes them itself.

    It can where it is Python. A GPU would wait for the tokenizer meanwhile, so there it stays a
    model of its own, which is at the next batch already.
    """
    return runtime in IN_PYTHON and _on_cpu(execution.where)


def _on_cpu(device: Device | None) -> bool:
    """Python models without a device take a GPU where there is one."""
    return device == "cpu" or (device is None and not gpus.present())


def takes_any_length(runtime: Runtime, info: BundleInfo) -> bool:
    """Whether texts reach the encoder at their own lengths, all in one batch.

    Native backends batch requests of one shape only, so they get lengths from a few.
    """
    return runtime in IN_PYTHON and info.text.dynamic_length


def _from_graph(bundle: Bundle, tower: Tower, runtime: Runtime, execution: Execution) -> Encoder:
    has = {a.precision for a in bundle.info.artifacts if (a.tower, a.format) == (tower, "onnx")}
    precision = execution.precision or _fastest(has, runtime, execution.where)
    if precision not in has:
        build = plans.build_command(bundle, precision)
        raise RepositoryError(
            f"bundle {bundle.name!r} has no {tower} graph in {precision}, but in "
            f"{', '.join(sorted(has))}; `{build} --graphs-only` writes it"
        )
    graph = bundle.artifact(tower, precision=precision)
    files = {"model.onnx": bundle.file(graph.file)}
    if graph.external_data:
        # The graph names its weights file, so that file keeps its name.
        files[graph.external_data] = bundle.file(graph.external_data)
    return Encoder(tower, precision, graph.max_batch, _items(bundle.info, tower), files)


def _fastest(has: set[Precision], runtime: Runtime, device: Device | None) -> Precision:
    if device == "gpu" or (runtime == "onnxruntime" and device is None):
        return "fp16" if "fp16" in has else "fp32"
    return "int8" if "int8" in has and _on_cpu(device) and cpu.this().multiplies_int8 else "fp32"


def _from_openvino(bundle: Bundle, wanted: Precision | None) -> dict[Tower, Encoder]:
    has = bundle.precisions_as("openvino")
    precision = wanted or _fastest_in_openvino(has)
    if precision not in has:
        build = plans.build_command(bundle, precision)
        others = f", but in {', '.join(has)}" if has else ""
        raise RepositoryError(
            f"bundle {bundle.name!r} has no OpenVINO models in {precision}{others}; "
            f"`{build} --openvino` writes them"
        )
    artifacts = {tower: bundle.artifact(tower, "openvino", precision) for tower in TOWERS}
    return {
        tower: Encoder(
            tower,
            precision,
            artifact.max_batch,
            _items(bundle.info, tower),
            {
                f"model{Path(name).suffix}": bundle.file(name)
                for name in (artifact.file, artifact.external_data)
                if name
            },
        )
        for tower, artifact in artifacts.items()
    }


def _fastest_in_openvino(has: Sequence[Precision]) -> Precision:
    here = cpu.this()
    order: list[Precision] = ["int8"] if here.multiplies_int8 else []
    order += ["bf16"] if here.multiplies_bf16 else []
    # Where a CPU has no BF16, OpenVINO computes such a model in FP32.
    order += ["fp32", "bf16"]
    return next((precision for precision in order if precision in has), order[0])


def _from_engines(bundle: Bundle, execution: Execution) -> dict[Tower, Encoder]:
    chosen = {
        tower: plans.choose(
            bundle,
            tower,
            _items(bundle.info, tower),
            precision=execution.precision,
            target=execution.tensorrt,
        )
        for tower in TOWERS
    }
    # A GPU that one tower has an engine for needs one for the other.
    purposes = {purpose for found in chosen.values() if found for purpose in found.engines}
    return {
        tower: _with_plans(bundle, tower, found, purposes, execution.precision)
        for tower, found in chosen.items()
    }


def _with_plans(
    bundle: Bundle,
    tower: Tower,
    found: Plans | None,
    purposes: set[str],
    precision: Precision | None,
) -> Encoder:
    items = _items(bundle.info, tower)
    have = found.engines if found else {}
    wanted = set(have) if plans.AMPERE_PLUS in have else purposes
    missing = [plans.file_name(purpose) for purpose in sorted(wanted - set(have))]
    if not wanted:
        # Nothing says which GPU it will be for: the name that Triton looks for by itself.
        missing = ["model.plan"]
    precision = found.precision if found else precision
    return Encoder(
        tower,
        precision,
        max_batch=found.max_batch(items) if found else bundle.artifact(tower).max_batch,
        items=items,
        files={plans.file_name(p): bundle.file(artifact.file) for p, (artifact, _) in have.items()},
        plans=found,
        purposes=tuple(sorted(wanted)),
        missing=dict.fromkeys(missing, plans.build_command(bundle, precision)),
    )


def _items(info: BundleInfo, tower: Tower) -> tuple[Item, ...]:
    if tower == "image":
        return ((3, info.image.height, info.image.width),)
    return tuple((length,) for length in bucket_lengths(info.text))
