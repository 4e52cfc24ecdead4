"""Compute capabilities as people write them: `sm89` for 8.9."""

from __future__ import annotations

from tritonclip_export.errors import EngineError

# TensorRT-RTX's `ComputeCapability`, by what to expect of each.
TARGETS: dict[str, str] = {
    "sm75": "T4, RTX 20",
    "sm80": "A100, A30",
    "sm86": "A10, RTX 30",
    "sm89": "L4, L40S, RTX 40",
    "sm120": "RTX 50, RTX PRO",
    "sm121": "DGX Spark",
}


def sm(compute_capability: str) -> str:
    """`sm89` for `8.9`."""
    return "sm" + compute_capability.replace(".", "")


def parse_target(target: str) -> str:
    """`8.9` for `sm89`, `SM89` or `8.9`.

    Raises:
        EngineError: TensorRT-RTX does not compile for it; lists what it does.
    """
    name = target.lower() if target.lower().startswith("sm") else sm(target)
    if name not in TARGETS:
        known = "; ".join(f"{name} ({gpus})" for name, gpus in TARGETS.items())
        hint = " H100 and H200 (sm90) take full-TensorRT engines only." if name == "sm90" else ""
        raise EngineError(f"TensorRT-RTX has no target {target!r}; it has {known}.{hint}")
    digits = name.removeprefix("sm")
    return f"{digits[:-1]}.{digits[-1]}"
