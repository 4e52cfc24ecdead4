"""How fast this card multiplies matrices: what every other figure is a share of."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.journal import Journal
from benchmarks.gpu.plan import Scale

# The four products of a block of ViT-L/14 at batch 64: 64 x 257 tokens, width 1024.
_TOKENS, _WIDTH = 64 * 257, 1024
VIT_L = {
    "ViT-L/14 qkv": (_TOKENS, _WIDTH, 3 * _WIDTH),
    "ViT-L/14 attention out": (_TOKENS, _WIDTH, _WIDTH),
    "ViT-L/14 MLP in": (_TOKENS, _WIDTH, 4 * _WIDTH),
    "ViT-L/14 MLP out": (_TOKENS, 4 * _WIDTH, _WIDTH),
}


def measure(journal: Journal, scale: Scale, _home: Path) -> None:
    """Both half precisions on a large product and on those of ViT-L/14."""
    shapes = {f"{scale.cubed} cubed": (scale.cubed,) * 3}
    if scale.device == "cuda":
        shapes |= VIT_L
    for dtype in (torch.float16, torch.bfloat16):
        for name, shape in shapes.items():
            key = f"{name} {str(dtype).removeprefix('torch.')}"
            journal.measure(key, partial(_figures, shape, dtype, scale))


def _figures(shape: tuple[int, int, int], dtype: torch.dtype, scale: Scale) -> dict[str, float]:
    return {"tflops": tflops(shape, dtype, scale)}


def tflops(shape: tuple[int, int, int], dtype: torch.dtype, scale: Scale) -> float:
    """Of the product [m, k] x [k, n] of normal random numbers: zeros would be faster than life."""
    m, k, n = shape
    a = torch.randn(m, k, device=scale.device, dtype=dtype)
    b = torch.randn(k, n, device=scale.device, dtype=dtype)
    return 2 * m * k * n * rate(lambda: a @ b, scale) / 1e12


def rate(run: Callable[[], object], scale: Scale) -> float:
    """Calls a second: the median of five stretches, after a warm-up."""
    for _ in range(3):
        run()
    _wait(scale)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < scale.seconds / 5:
        run()
        _wait(scale)
        calls += 1
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            run()
        _wait(scale)
        rates.append(calls / (time.perf_counter() - began))
    return sorted(rates)[2]


def _wait(scale: Scale) -> None:
    if scale.device == "cuda":
        torch.cuda.synchronize()
