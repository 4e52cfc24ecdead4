"""Bundle -> engines: what is to be built, what is already there, and keeping what was built.

An engine's recipe is a hash over all that decides it: the graph, the profiles, the options, the
compiler and the GPU architecture. The engine that a file name stands for (one a tower, precision,
GPU architecture and compiler) is replaced only by one that compiled, in one rename.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.bundle import (
    TOWERS,
    Artifact,
    Bundle,
    Engine,
    HardwareCompatibility,
    Precision,
    Profile,
    sha256_of,
)
from tritonclip_export.errors import BundleError, EngineError
from tritonclip_export.machine import gpus
from tritonclip_export.tensorrt import bindings, library
from tritonclip_export.tensorrt.builder import Detail, compile_graph
from tritonclip_export.tensorrt.capabilities import parse_target, sm
from tritonclip_export.tensorrt.library import Compiler, Library
from tritonclip_export.tensorrt.options import Options
from tritonclip_export.tensorrt.profiles import profiles

FOLDER = "engines"
# Triton's TensorRT backend takes plans; what TensorRT-RTX writes must never pass for one.
SUFFIXES: dict[Compiler, str] = {"tensorrt": "plan", "tensorrt-rtx": "rtx"}


@dataclass(frozen=True)
class Toolchain:
    """A compiler of this machine and the compute capabilities it is to compile for."""

    library: Library
    compute_capabilities: tuple[str, ...]

    def build(
        self,
        bundle: Bundle,
        precision: Precision,
        options: Options = Options(),  # noqa: B008 (immutable)
        *,
        force: bool = False,
        progress: Callable[[str], None] = lambda _: None,
        detail: Detail = lambda _: None,
    ) -> Outcome:
        """Compile both towers for every compute capability, where that is not done yet.

        Args:
            bundle: a bundle that has the graphs at `precision`.
            precision: that of the graphs.
            options: how to compile.
            force: compile again what is already there.
            progress: told of each engine as it begins.
            detail: told what the compiler is at.

        Raises:
            BundleError: the bundle has no graphs at that precision, or they are damaged.
            EngineError: an engine cannot be built. Those before it are kept, and so is the one that
                it would have replaced.
        """
        compiler = self.library
        if compiler.compiler == "tensorrt-rtx" and not options.only_batches:
            raise EngineError(
                "TensorRT-RTX decides for itself what these options would: with --aot, choose "
                "batch sizes only"
            )
        wanted = jobs(bundle, precision, options, f"{compiler.compiler} {compiler.version}")
        built, unchanged = [], []
        for capability in self.compute_capabilities:
            for job in (for_capability(job, capability) for job in wanted):
                if not force and (found := finished(bundle, job)):
                    unchanged.append(found)
                    continue
                progress(f"compiling {job.graph.tower} {precision} for {sm(capability)}")
                bundle, artifact = self._compile(bundle, job, options, capability, detail)
                built.append(artifact)
        return Outcome(bundle, tuple(built), tuple(unchanged))

    def _compile(
        self, bundle: Bundle, job: Job, options: Options, capability: str, detail: Detail
    ) -> tuple[Bundle, Artifact]:
        made = compile_graph(
            self.library,
            bundle.file(job.graph.file),
            job.graph,
            job.profiles,
            options,
            compute_capability=capability,
            detail=detail,
        )
        partial = engines_folder(bundle) / f".{job.recipe}.partial"
        try:
            partial.write_bytes(made.serialized)
            return keep(
                bundle, job, made.engine, partial, self.library.compiler, self.library.built_with
            )
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Job:
    """One engine to be built.

    Attributes:
        graph: what it is compiled from.
        profiles: the shapes it is to take.
        recipe: the hash over all that decides it.
    """

    graph: Artifact
    profiles: tuple[Profile, ...]
    recipe: str


@dataclass(frozen=True)
class Outcome:
    """The bundle with its engines, by what happened to them."""

    bundle: Bundle
    built: tuple[Artifact, ...]
    unchanged: tuple[Artifact, ...]


def for_this_gpu() -> Toolchain:
    """The full TensorRT that is installed here, for the GPU that is here.

    Raises:
        EngineError: there is no TensorRT, it is too old, or there is no GPU.
    """
    tensorrt = library.load("tensorrt")
    try:
        gpu = gpus.visible()
    except EngineError as error:
        raise EngineError(
            f"TensorRT compiles on a GPU like the one that will serve, and here is none: {error}. "
            f"On a machine that has one, {library.ALTERNATIVES}"
        ) from error
    return Toolchain(tensorrt, (gpu.compute_capability,))


def ahead_of_time(targets: Sequence[str]) -> Toolchain:
    """TensorRT-RTX, for GPUs that need not be here: `sm86`, `sm89`, ...

    Raises:
        EngineError: it does not know a target, or is not installed.
    """
    capabilities = tuple(dict.fromkeys(map(parse_target, targets)))
    return Toolchain(library.load("tensorrt-rtx"), capabilities)


def jobs(bundle: Bundle, precision: Precision, options: Options, compiler: str) -> list[Job]:
    """What there is to build for one GPU architecture, with recipes that do not yet tell which.

    Raises:
        BundleError: the bundle has no graphs at that precision, or they are damaged.
        EngineError: int8, or batch sizes that do not fit.
    """
    if precision == "int8":
        raise EngineError(
            "int8 graphs are for ONNX Runtime on CPUs; engines are fp16, bf16 or fp32"
        )
    found = []
    for tower in TOWERS:
        graph = bundle.artifact(tower, "onnx", precision)
        bundle.check_artifact(graph)
        shapes = profiles(bundle.info, graph, options)
        choices = tuple(options.of_engine.values())
        recipe = _digest(graph.sha256, [p.model_dump() for p in shapes], choices, compiler)
        found.append(Job(graph, shapes, recipe))
    return found


def for_capability(job: Job, compute_capability: str) -> Job:
    """The job for one GPU architecture."""
    return Job(job.graph, job.profiles, _digest(job.recipe, compute_capability))


def finished(bundle: Bundle, job: Job) -> Artifact | None:
    """The engine of `job`, if the bundle has it, undamaged."""
    for artifact in bundle.info.artifacts:
        if artifact.engine and artifact.recipe == job.recipe:
            with suppress(BundleError):
                bundle.check_artifact(artifact)
                return artifact
    return None


def keep(
    bundle: Bundle,
    job: Job,
    engine: Engine,
    file: Path,
    compiler: Compiler,
    built_with: dict[str, str],
) -> tuple[Bundle, Artifact]:
    """Move a finished engine to its place in the bundle and record it in `bundle.json`.

    Args:
        bundle: the bundle; what was recorded in it meanwhile, by another process, is kept.
        job: what was built.
        engine: what is known of it.
        file: where it is now, on the bundle's file system.
        compiler: what built it.
        built_with: versions.

    Raises:
        EngineError: its tensors are not the promised ones.
    """
    graph = job.graph
    name = file_name(graph, engine.compute_capability, engine.hardware_compatibility, compiler)
    bindings.require(engine.bindings, bindings.promised(bundle.info, graph.tower), name)
    artifact = Artifact(
        tower=graph.tower,
        format=compiler,
        precision=graph.precision,
        file=f"{FOLDER}/{name}",
        sha256=sha256_of(file),
        max_batch=job.profiles[0].max[0],
        built_with=built_with,
        recipe=job.recipe,
        kept_fp32=graph.kept_fp32,
        engine=engine,
    )
    now = Bundle.load(bundle.path).with_artifacts([artifact])
    file.replace(bundle.file(artifact.file))
    now.save()
    return now, artifact


def engines_folder(bundle: Bundle) -> Path:
    """The bundle's folder of engines, made if need be."""
    folder = bundle.file(FOLDER)
    folder.mkdir(exist_ok=True)
    return folder


def file_name(
    graph: Artifact,
    compute_capability: str,
    compatibility: HardwareCompatibility,
    compiler: Compiler,
) -> str:
    """`image_encoder.fp16.sm89.plan`; on which other GPUs it runs, if on any, goes with the sm."""
    gpu = sm(compute_capability)
    if compatibility != "none":
        gpu += f"-{compatibility.replace('_', '-')}"
    return f"{graph.tower}_encoder.{graph.precision}.{gpu}.{SUFFIXES[compiler]}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
