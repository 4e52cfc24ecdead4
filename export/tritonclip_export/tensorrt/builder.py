"""One graph -> one engine, through Polygraphy, with TensorRT or TensorRT-RTX.

Networks are strongly typed: an engine computes, takes and gives what its graph says. In engines of
FP32 graphs TF32 is off, because it rounds the factors of a product to FP16's ten bits. In graphs of
lower precision it is on: a product that stays FP32 there does so for FP32's range, which TF32 has.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip_export import bundle
from tritonclip_export.bundle import Artifact, Binding, Engine
from tritonclip_export.errors import EngineError
from tritonclip_export.tensorrt import bindings
from tritonclip_export.tensorrt.build_log import BuildLog, collected, explain
from tritonclip_export.tensorrt.capabilities import sm
from tritonclip_export.tensorrt.library import Library
from tritonclip_export.tensorrt.options import Options

Detail = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """A serialized engine and what is known of it."""

    serialized: memoryview
    engine: Engine


@dataclass(frozen=True)
class _Told:
    """What is read from the engine, or from the log of its build."""

    bindings: tuple[Binding, ...]
    layers: int | None
    device_memory_bytes: int | None


def compile_graph(
    library: Library,
    file: Path,
    graph: Artifact,
    profiles: tuple[bundle.Profile, ...],
    options: Options,
    *,
    compute_capability: str,
    detail: Detail = lambda _: None,
) -> Built:
    """Compile the ONNX graph in `file`, of which `graph` is the record.

    Args:
        library: what compiles.
        file: the graph.
        graph: its record.
        profiles: the shapes it is to take.
        options: how to compile.
        compute_capability: `8.9`: of the GPU at hand, or for TensorRT-RTX of any it knows.
        detail: told what the compiler is at.

    Raises:
        EngineError: the graph does not parse or does not compile; says which node, or why.
        KeyboardInterrupt: Ctrl-C was pressed; the compiler stops at its next step.
    """
    from polygraphy.backend.trt import (
        Profile,
        engine_bytes_from_network,
        network_from_onnx_path,
    )
    from polygraphy.exception import PolygraphyException

    began = time.monotonic()
    with collected() as log, _interruptible() as interrupted:
        try:
            parsed = network_from_onnx_path(str(file), strongly_typed=True)
            name, tf32 = bindings.INPUTS[graph.tower], graph.precision != "fp32"
            common = {
                "profiles": [Profile().add(name, p.min, p.opt, p.max) for p in profiles],
                "progress_monitor": _monitor(library.module, detail, interrupted),
            }
            if library.compiler == "tensorrt":
                cache = _timing_cache(library, compute_capability)
                config = _config(library, options, tf32, cache, common)
            else:  # which times nothing without a GPU
                cache, config = None, _rtx_config(library, compute_capability, tf32, common)
            serialized = engine_bytes_from_network(parsed, config=config, save_timing_cache=cache)
            told = _read(library, serialized, parsed[1], log, len(profiles))
        except PolygraphyException as error:
            if interrupted.is_set():
                raise KeyboardInterrupt from None
            raise EngineError(
                f"{file.name} cannot be compiled with {library.compiler} {library.version} for "
                f"{sm(compute_capability)}: {explain(log.lines)}"
            ) from error
    view = memoryview(serialized)
    return Built(
        serialized=view,
        engine=Engine(
            graph_sha256=graph.sha256,
            version=library.version,
            compute_capability=compute_capability,
            **options.of_engine,
            bindings=told.bindings,
            profiles=profiles,
            layers=told.layers,
            device_memory_bytes=told.device_memory_bytes,
            build_seconds=round(time.monotonic() - began, 1),
            size_bytes=view.nbytes,
        ),
    )


def _config(
    library: Library, options: Options, tf32: bool, cache: str, common: dict[str, Any]
) -> Any:
    from polygraphy.backend.trt import CreateConfig

    trt = library.module
    compatibility = options.hardware_compatibility
    return CreateConfig(
        **common,
        tf32=tf32,
        load_timing_cache=cache,
        builder_optimization_level=options.optimization_level,
        memory_pool_limits=(
            {trt.MemoryPoolType.WORKSPACE: options.workspace_bytes}
            if options.workspace_bytes
            else None
        ),
        hardware_compatibility_level=(
            None
            if compatibility == "none"
            else getattr(trt.HardwareCompatibilityLevel, compatibility.upper())
        ),
        version_compatible=options.version_compatible,
        refittable=options.refittable,
    )


def _rtx_config(
    library: Library, compute_capability: str, tf32: bool, common: dict[str, Any]
) -> Any:
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
    from polygraphy.backend.trt import PostprocessConfig

    major, minor = map(int, compute_capability.split("."))
    config = CreateConfigRTX(**common, compute_capabilities=[(major, minor)])
    if tf32:  # the default
        return config
    flag = library.module.BuilderFlag.TF32
    return PostprocessConfig(config, lambda _, __, created: created.clear_flag(flag))


def _read(library: Library, serialized: Any, network: Any, log: BuildLog, profiles: int) -> _Told:
    """Figures of an engine: from itself where a GPU lets it load, else from network and log."""
    layers = None if log.layers is None else round(log.layers / profiles)
    if library.compiler == "tensorrt-rtx":
        return _Told(bindings.of_network(network), layers, log.device_memory_bytes)
    from polygraphy.backend.trt import engine_from_bytes

    engine = engine_from_bytes(serialized)
    return _Told(bindings.of_engine(engine), layers, engine.device_memory_size_v2)


def _timing_cache(library: Library, compute_capability: str) -> str:
    """Where kernel timings of this TensorRT on such GPUs are kept between builds."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{library.version}-{sm(compute_capability)}.timing")


def cache_folder() -> Path:
    """The user's folder of timing caches (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tritonclip" / "tensorrt"


def _monitor(trt: Any, detail: Detail, interrupted: threading.Event) -> Any:
    """Tells of phases and steps, and stops the build once `interrupted`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module comes at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:  # noqa: ARG002
            self._steps[phase] = steps
            detail(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            detail(f"{phase} {step + 1}/{self._steps[phase]}")
            return not interrupted.is_set()

        def phase_finish(self, phase: str) -> None:
            del self._steps[phase]

    return Monitor()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, instead of raising where TensorRT's callbacks must not raise."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
