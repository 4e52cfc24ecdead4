"""What a user may choose about an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritonclip_export.bundle import HardwareCompatibility

# TensorRT's own.
OPTIMIZATION_LEVEL = 3
# Kernels are tuned for this batch: what dynamic batching forms under load, short of its limit.
OPT_BATCH = 16


@dataclass(frozen=True)
class Options:
    """How to compile. Every batch from one to `max_batch` runs; `opt_batch` runs best.

    Attributes:
        max_batch: None for the largest that the graph was exported for.
        opt_batch: None for 16, or `max_batch` if that is less.
        optimization_level: 0 to 5; more searches longer.
        workspace_bytes: scratch memory a kernel may use; None for all the GPU has.
        hardware_compatibility: run on other GPUs than the one it was built on, at some cost.
        version_compatible: run under later TensorRT of the same major version; the server must be
            told to allow the code such an engine carries.
        refittable: weights can be replaced later.
    """

    max_batch: int | None = None
    opt_batch: int | None = None
    optimization_level: int = OPTIMIZATION_LEVEL
    workspace_bytes: int | None = None
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False
    refittable: bool = False

    @property
    def only_batches(self) -> bool:
        """Whether nothing but batch sizes was chosen."""
        return self == Options(max_batch=self.max_batch, opt_batch=self.opt_batch)

    @property
    def of_engine(self) -> dict[str, Any]:
        """All but the batches, by the names of an engine's fields; recipes hash them in order."""
        return {
            "optimization_level": self.optimization_level,
            "workspace_bytes": self.workspace_bytes,
            "hardware_compatibility": self.hardware_compatibility,
            "version_compatible": self.version_compatible,
            "refittable": self.refittable,
        }
