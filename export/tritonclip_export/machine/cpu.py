"""The CPU of this machine, as the kernel describes it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# What decides how fast an encoder runs, by the kernel's names of flags.
_FEATURES = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "BF16": {"avx512_bf16"},
    "AMX": {"amx_tile"},
}


@dataclass(frozen=True)
class Cpu:
    """Its name, and the features that matter here; `features` is None where nothing tells."""

    model: str
    features: tuple[str, ...] | None

    @property
    def multiplies_int8(self) -> bool:
        """Whether it has an instruction for products of 8-bit integers.

        Without one, INT8 gains little, and on x86 the sums of ONNX Runtime's kernels saturate, so
        that embeddings are no longer those that were verified.
        """
        return "VNNI" in (self.features or ())

    @property
    def multiplies_bf16(self) -> bool:
        """Whether it has an instruction for products of BF16."""
        return not {"BF16", "AMX"}.isdisjoint(self.features or ())


def this() -> Cpu:
    """The CPU of this machine."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    return Cpu(
        model=model[1] if model else platform.processor() or platform.machine(),
        features=features(flags[1].split()) if flags else None,
    )


def features(flags: Iterable[str]) -> tuple[str, ...]:
    """The features that matter, by the names that people know, from the kernel's names of flags."""
    present = set(flags)
    return tuple(name for name, any_of in _FEATURES.items() if any_of & present)
