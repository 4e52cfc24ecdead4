"""OpenVINO and NNCF: finding them, and what they can do on this CPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from tritonclip_export.errors import PrecisionError
from tritonclip_export.machine import cpu

if TYPE_CHECKING:
    from tritonclip_export.bundle import Precision

INSTALL = 'pip install "tritonclip[openvino]"'

# What products are computed in that are not quantised, as OpenVINO calls it: untold, it would round
# those of FP32 where the CPU has BF16. The end of a graph, from its last product on, it leaves in
# FP32 in any case: the norm of an embedding is exact.
EXECUTED_IN: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def is_installed() -> bool:
    """Whether OpenVINO is there, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def load() -> Any:
    """The module `openvino`.

    Raises:
        PrecisionError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise PrecisionError(f"OpenVINO is missing ({error}): {INSTALL}") from error
    return openvino


def load_nncf() -> Any:
    """The module `nncf`, which quantises.

    Raises:
        PrecisionError: it is not installed.
    """
    # Without this it reports each call to Google Analytics, and asks nobody.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError as error:
        raise PrecisionError(f"NNCF, which quantises, is missing ({error}): {INSTALL}") from error
    return nncf


def executes(precision: Precision) -> bool:
    """Whether OpenVINO executes models of that precision on this CPU as they are meant.

    Without instructions for BF16 it computes in FP32 and says nothing. Without VNNI its sums of
    8-bit products saturate, as ONNX Runtime's do.

    Raises:
        PrecisionError: OpenVINO is not installed.
    """
    if precision == "int8":
        return cpu.this().multiplies_int8
    if precision == "bf16":
        return "BF16" in load().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return precision == "fp32"


def check(precision: Precision) -> None:
    """Refuse what cannot be built or measured here.

    Raises:
        PrecisionError: OpenVINO is not installed, does not have the precision, or this CPU does
            not; names the remedy.
    """
    load()
    if precision not in EXECUTED_IN:
        raise PrecisionError(
            f"OpenVINO executes encoders in {', '.join(EXECUTED_IN)} on CPUs, not in {precision}: "
            "choose one with --precision"
        )
    if not executes(precision):
        missing = {"bf16": "instructions for BF16", "int8": "VNNI"}[precision]
        raise PrecisionError(
            f"this CPU, {cpu.this().model}, has no {missing}, so {precision} cannot be measured on "
            "it: build on the kind of machine that will serve, or choose --precision fp32"
        )


def versions(precision: Precision) -> dict[str, str]:
    """Of what writes a model of that precision."""
    names = ("openvino", "nncf") if precision == "int8" else ("openvino",)
    return {name: importlib.metadata.version(name) for name in names}
