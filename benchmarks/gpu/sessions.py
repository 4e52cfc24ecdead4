"""ONNX Runtime on the card: sessions that refuse to be anywhere else, bound runs, placement."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.plan import Scale


def open_session(
    file: Path, scale: Scale, *, cuda_graph: bool = False, profile: Path | None = None
) -> Any:
    """A session of the graph in `file`, on the device of `scale`.

    Raises:
        RuntimeError: ONNX Runtime fell back to the CPU, as it does when CUDA cannot be loaded.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    # TF32 off, as `model_repository/onnx_runtime` has it.
    cuda = ("CUDAExecutionProvider", {"use_tf32": 0, "enable_cuda_graph": int(cuda_graph)})
    providers = [*([cuda] if scale.device == "cuda" else []), "CPUExecutionProvider"]
    session = ort.InferenceSession(file, options, providers=providers)
    if len(session.get_providers()) < len(providers):
        raise RuntimeError("ONNX Runtime cannot load CUDA and fell back to the CPU")
    return session


def bound(session: Any, batch: Any, scale: Scale) -> Callable[[], object]:
    """Run on a batch that lies on the device already, and leave the embeddings there."""
    import onnxruntime as ort

    read, written = session.get_inputs()[0], session.get_outputs()[0]
    shape = [len(batch), written.shape[1]]
    pixels_or_ids = ort.OrtValue.ortvalue_from_numpy(batch, scale.device, 0)
    embeddings = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, scale.device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(read.name, pixels_or_ids)
    binding.bind_ortvalue_output(written.name, embeddings)
    return lambda: session.run_with_iobinding(binding)


def placement(file: Path, batch: Any, scale: Scale, home: Path) -> dict[str, int]:
    """Kernels by where they ran; those that fell back to the CPU by their operators."""
    session = open_session(file, scale, profile=home / "profile")
    session.run(None, {session.get_inputs()[0].name: batch})
    written = Path(session.end_profiling())
    found: Counter[str] = Counter()
    for event in json.loads(written.read_text()):
        if event.get("cat") == "Node" and (provider := event["args"].get("provider")):
            fallen = scale.device == "cuda" and provider == "CPUExecutionProvider"
            found[f"{event['args']['op_name']} on the CPU" if fallen else provider] += 1
    written.unlink()
    return dict(found)
