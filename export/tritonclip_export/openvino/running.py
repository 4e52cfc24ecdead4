"""OpenVINO's models, opened on the CPU as the server's Python model opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Bundle, Precision, Tower
from tritonclip_export.errors import PrecisionError
from tritonclip_export.graph.encoder import Encode
from tritonclip_export.openvino import library
from tritonclip_export.parity.inputs import Batches, Embeddings
from tritonclip_export.parity.pairs import Pair, run

FORMAT: Literal["openvino"] = "openvino"


def open_model(file: Path, precision: Precision) -> Encode:
    """The encoder in `file`, an OpenVINO model or an ONNX graph: PIXELS or TOKEN_IDS -> EMBEDDING.

    Raises:
        PrecisionError: OpenVINO is not installed, does not take the model, or executes it in
            another precision.
    """
    openvino = library.load()
    hint = library.EXECUTED_IN[precision]
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    try:
        compiled = openvino.Core().compile_model(file, "CPU", options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PrecisionError(f"{file.name}: OpenVINO refuses the model: {reason}") from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint:
        raise PrecisionError(
            f"{file.name}: OpenVINO executes it in {used} on this CPU, not in {hint}, so "
            f"{precision} cannot be measured here: build on the kind of machine that will serve"
        )
    request = compiled.create_infer_request()

    def encode(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(request.infer([batch], share_inputs=True)[0])

    return encode


def embeddings(bundle: Bundle, batches: Batches, precision: Precision) -> Pair:
    """Embeddings by the bundle's OpenVINO models of that precision.

    Raises:
        BundleError: it has none.
        PrecisionError: as `open_model`.
    """

    def of_tower(tower: Tower) -> Embeddings:
        artifact = bundle.artifact(tower, FORMAT, precision)
        return run(open_model(bundle.file(artifact.file), precision), batches.of_tower(tower))

    return Pair(of_tower("image"), of_tower("text"))


def precisions_here(bundle: Bundle) -> tuple[Precision, ...]:
    """Those of a bundle's OpenVINO models that can be measured here; none without OpenVINO."""
    if not library.is_installed():
        return ()
    return tuple(p for p in bundle.precisions_as(FORMAT) if library.executes(p))
