"""INT8 for OpenVINO: weights and activations quantised by NNCF, calibrated on real inputs.

Scales are fixed here, so an embedding does not depend on what it is batched with, and products need
no pass over their inputs to find a scale. The convolution that reads the pixels stays in FP32: it
is a few percent of the work, and its error goes through everything behind it.

SmoothQuant, which NNCF applies to transformers, is left out: fitted to a few dozen inputs, it is a
little nearer to FP32 on those and much further away on others.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tritonclip_export.errors import PrecisionError
from tritonclip_export.openvino import library
from tritonclip_export.precision import layers

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def quantised(
    source: Path,
    items: Sequence[npt.NDArray[Any]],
    keep: Sequence[str],
    *,
    convolutions: bool,
) -> Any:
    """The FP32 graph in `source` as a quantised OpenVINO model.

    Args:
        source: an ONNX graph.
        items: what to calibrate on, batches of one.
        keep: patterns of layers to leave in FP32, by the names that the tower has for them.
        convolutions: whether to quantise them as well; without them, only matrix products are.

    Raises:
        PrecisionError: OpenVINO or NNCF is not installed, or NNCF does not take the graph.
    """
    openvino, nncf = library.load(), library.load_nncf()
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    model = openvino.Core().read_model(source)
    with _quiet():
        try:
            return nncf.quantize(
                model,
                nncf.Dataset(items),
                model_type=nncf.ModelType.TRANSFORMER,
                # Activations with a zero point: half of them (softmax, GELU) are one-sided.
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(items),
                ignored_scope=nncf.IgnoredScope(names=_excluded(model, source, keep, convolutions)),
                advanced_parameters=AdvancedQuantizationParameters(
                    smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1),  # leaves it out
                    # NNCF would take the mean of the extremes that each input shows, and so cut off
                    # what half of them have.
                    activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                ),
            )
        except (nncf.NNCFError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise PrecisionError(f"{source.name}: NNCF cannot quantise it: {reason}") from error


def _excluded(model: Any, source: Path, keep: Sequence[str], convolutions: bool) -> list[str]:
    """Names of the operations to leave in FP32; both libraries take them from the ONNX graph."""
    matching = {
        node.name
        for node in layers.load(source).graph
        if any(fnmatchcase(layers.layer_of(node), pattern) for pattern in keep)
    }

    def stays(operation: Any) -> bool:
        if operation.get_type_name() in CONVOLUTIONS:
            return not convolutions or _reads_pixels(operation)
        return False

    return [
        operation.get_friendly_name()
        for operation in model.get_ops()
        if operation.get_friendly_name() in matching or stays(operation)
    ]


def _reads_pixels(operation: Any) -> bool:
    """Whether a convolution is the one that all of an image goes through first."""
    waiting = [operation.input_value(0).get_node()]
    while waiting:
        before = waiting.pop()
        if before.get_type_name() in (*CONVOLUTIONS, "MatMul"):
            return False
        waiting.extend(value.get_node() for value in before.input_values())
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's log and progress, which go to standard output."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
