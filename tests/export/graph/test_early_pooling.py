"""The choice of a token moves in front of what needs no other, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, normalize

from tritonclip_export.bundle import Bundle
from tritonclip_export.graph.encoder import Input
from tritonclip_export.graph.tracing import trace

CHANNELS = 16


class Block(nn.Module):
    """Attention over eight tokens, and the feed-forward layer after it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.norm = nn.LayerNorm(CHANNELS)
        self.forward_in = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.forward_out = nn.Linear(4 * CHANNELS, CHANNELS)
        self.positions = nn.Parameter(torch.randn(8, CHANNELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.forward_out(gelu(self.forward_in(self.norm(x))))


class First(Block):
    """The class token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return normalize(super().forward(x)[:, 0])


class Last(Block):
    """SigLIP's text tower."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return normalize(super().forward(x)[:, -1])


class Largest(Block):
    """Another token in every row, as the end of a text is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        at = x[:, :, 0].argmax(dim=-1)
        return normalize(super().forward(x)[torch.arange(len(x)), at])


class Mean(Block):
    """All tokens count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return normalize(super().forward(x).mean(dim=1))


class FirstAndMean(Block):
    """One token is chosen, but all count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = super().forward(x)
        return normalize(tokens[:, 0] + tokens.mean(dim=1))


class WithPositions(Block):
    """What is added after the block is not the same for every token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return normalize((super().forward(x) + self.positions)[:, 3])


def traced(module: nn.Module, folder: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """The graph of a module, what it answers, and what the module does."""
    torch.manual_seed(5)
    x = torch.randn(2, 8, CHANNELS)
    module.eval().requires_grad_(False)
    file = folder / "graph.onnx"
    trace(module, Input("TOKENS", x.numpy(), {0: "batch"}), file)
    more = torch.randn(5, 8, CHANNELS)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"TOKENS": more.numpy()})
    return onnx_ir.load(file).graph, answer, module(more).numpy()


def feed_forward_ranks(of: Any) -> list[int]:
    """The ranks of what comes out of the products after the last softmax, attention's aside."""
    operators = [node.op_type for node in of]
    after = list(of)[len(operators) - operators[::-1].index("Softmax") + 1 :]
    return [len(node.outputs[0].shape) for node in after if node.op_type == "MatMul"]


@pytest.mark.parametrize(
    ("module", "ranks"),
    [
        *((module, [2, 2]) for module in (First, Largest)),
        pytest.param(Last, [2, 2], marks=pytest.mark.slow),  # SigLIP's tower itself is below
        *((module, [3, 3]) for module in (Mean, FirstAndMean, WithPositions)),
    ],
)
def test_the_feed_forward_layer_sees_no_token_that_does_not_count(
    module: type[Block], ranks: list[int], tmp_path: Path
) -> None:
    found, answer, expected = traced(module(), tmp_path)
    assert feed_forward_ranks(found) == ranks
    np.testing.assert_allclose(answer, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("checkpoint", "tower"), [("vit", "image"), ("vit", "text"), ("siglip", "text")]
)
def test_towers_choose_their_token_before_the_last_products(
    checkpoint: str, tower: str, bundle: Callable[[str], Bundle]
) -> None:
    found = bundle(checkpoint)
    nodes = onnx_ir.load(found.path / f"{tower}_encoder.onnx").graph
    assert set(feed_forward_ranks(nodes)) == {2}
