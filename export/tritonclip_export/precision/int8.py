"""INT8 for the CPU runtimes: weights of products quantised per channel, activations as they come.

Dynamic quantisation needs no calibration and touches only products with constant weights and the
embedding table; attention itself stays FP32, and so do convolutions, whose integer kernels ONNX
Runtime has no fast version of. A product that per-tensor scales hurt (`activations`) is left out.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tritonclip_export.graph.encoder import external_data_of
from tritonclip_export.precision.activations import Activations
from tritonclip_export.precision.layers import layer_of
from tritonclip_export.precision.lower import INT8

PRODUCTS = ("MatMul", "Gemm")


def excluded(graph: Any, activations: Activations, keep: Sequence[str]) -> list[str]:
    """Names of the products to leave in FP32: what hurts, and what the user's patterns match."""
    return [
        node.name
        for node in graph
        if node.op_type in PRODUCTS
        and (
            activations.damage.get(node.name, 0) > INT8.damage
            or any(fnmatchcase(layer_of(node), pattern) for pattern in keep)
        )
    ]


def quantise(source: Path, target: Path, exclude: Sequence[str]) -> None:
    """Write the FP32 graph in `source` with its products in INT8 to `target`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".plain-") as folder:
        plain = Path(folder) / source.name
        # It transposes weights, then trips over the shapes that were recorded for them.
        model = onnx.load(source, load_external_data=False)
        del model.graph.value_info[:]
        onnx.save(model, plain)
        if data := external_data_of(source):
            # Not a link: onnx refuses files with several, which a bundle's are once a repository
            # shares them.
            shutil.copyfile(data, plain.with_name(data.name))
        with _quiet():
            quantize_dynamic(
                plain,
                target,
                op_types_to_quantize=[*PRODUCTS, "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(exclude),
                use_external_data_format=data is not None,
                extra_options={"MatMulConstBOnly": True},
            )
    if data := external_data_of(target):
        data.chmod(target.stat().st_mode)  # onnx writes it for its owner alone


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice, on the root logger, to prepare the model first: that has been done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
