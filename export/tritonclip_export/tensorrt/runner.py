"""Running an engine on the GPU of this machine, to compare it with the graph it is made from.

It takes a GPU and the TensorRT that built the engine; this project has had no machine with both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Artifact, Bundle, Engine, Precision, Profile, Tower
from tritonclip_export.errors import EngineError
from tritonclip_export.graph.encoder import OUTPUT, Encode
from tritonclip_export.machine import gpus
from tritonclip_export.tensorrt import library
from tritonclip_export.tensorrt.bindings import INPUTS
from tritonclip_export.tensorrt.build_log import collected, explain
from tritonclip_export.tensorrt.capabilities import sm


def engines_here(bundle: Bundle) -> dict[Precision, tuple[Artifact, Artifact]]:
    """The engines of the image and the text tower for the GPU of this machine, by precision.

    Only where both are there, with the graphs that they are made from; none without a GPU.
    """
    try:
        capability = gpus.visible().compute_capability
    except EngineError:
        return {}
    found: dict[tuple[Precision, Tower], Artifact] = {
        (artifact.precision, artifact.tower): artifact
        for artifact in bundle.info.artifacts
        if artifact.format == "tensorrt"
        and artifact.engine is not None
        and artifact.engine.compute_capability == capability
    }
    return {
        precision: (found[precision, "image"], found[precision, "text"])
        for precision in ("fp32", *bundle.precisions)
        if (precision, "image") in found and (precision, "text") in found
    }


@contextmanager
def open_engine(bundle: Bundle, artifact: Artifact) -> Iterator[Encode]:
    """The engine of `artifact`: from PIXELS or TOKEN_IDS, any number, to EMBEDDING [n, dim].

    Raises:
        EngineError: there is no GPU, or one of another architecture; the TensorRT here is not the
            one that built it; it does not load; or no profile takes a shape.
    """
    engine = artifact.engine
    if engine is None or artifact.format == "onnx" or artifact.format == "openvino":
        raise EngineError(f"{artifact.file} is a graph, not an engine")
    _check_gpu(artifact.file, engine)
    tensorrt = library.load(artifact.format)
    if engine.version != tensorrt.version and not engine.version_compatible:
        raise EngineError(
            f"{artifact.file} was built by {artifact.format} {engine.version} and runs under no "
            f"other; here is {tensorrt.version}. Install that one, or build it again"
        )
    from polygraphy.backend.trt import TrtRunner, engine_from_bytes
    from polygraphy.exception import PolygraphyException

    with collected() as log:
        try:
            runner = TrtRunner(engine_from_bytes(bundle.file(artifact.file).read_bytes()))
            with runner:
                yield _encoder(runner, INPUTS[artifact.tower], engine.profiles)
        except PolygraphyException as error:
            raise EngineError(f"{artifact.file} does not run: {explain(log.lines)}") from error


def _encoder(runner: Any, name: str, profiles: Sequence[Profile]) -> Encode:
    def encode(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        number = profile_for(profiles, batch.shape[1:])
        runner.set_profile(number)
        most = profiles[number].max[0]
        parts = [batch[start : start + most] for start in range(0, len(batch), most)]
        # The runner's own buffer, which its next call overwrites.
        rows = [np.array(runner.infer({name: part})[OUTPUT], np.float32) for part in parts]
        return np.concatenate(rows)

    return encode


def profile_for(profiles: Sequence[Profile], item: Sequence[int]) -> int:
    """The number of the first profile that takes items of this shape (batch left out).

    Raises:
        EngineError: none does.
    """
    for number, profile in enumerate(profiles):
        if profile.takes(item):
            return number
    taken = ", ".join(str(list(profile.max[1:])) for profile in profiles)
    raise EngineError(f"no profile of the engine takes {list(item)}; they take {taken}")


def _check_gpu(file: str, engine: Engine) -> None:
    try:
        gpu = gpus.visible()
    except EngineError as error:
        raise EngineError(f"{file} runs on a GPU, and here is none: {error}") from error
    if engine.compute_capability != gpu.compute_capability:
        if engine.hardware_compatibility == "ampere_plus":
            return
        raise EngineError(
            f"{file} runs on {sm(engine.compute_capability)}; the {gpu.name} here is "
            f"{sm(gpu.compute_capability)}"
        )
