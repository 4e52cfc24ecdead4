"""The server keeps label embeddings: embedded once, within a limit of memory."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

VECTORS = np.ones((10, 100), np.float32)  # 4,000 bytes


@pytest.fixture(scope="module")
def label_sets(root: Path) -> ModuleType:
    file = root / "model_repository/zero_shot/1/label_sets.py"
    spec = importlib.util.spec_from_file_location("label_sets", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Encoder:
    """Counts how often it is asked; each answer takes until the others had a turn."""

    def __init__(self, failures: int = 0) -> None:
        self.calls = 0
        self.failures = failures

    async def __call__(self) -> np.ndarray:
        self.calls += 1
        await asyncio.sleep(0.01)
        if self.calls <= self.failures:
            raise ValueError("no encoder")
        return VECTORS


def key(*labels: str) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return tuple(label.encode() for label in labels), ()


async def test_requests_that_come_together_embed_a_set_once(label_sets: ModuleType) -> None:
    sets, encoder = label_sets.LabelSets(1 << 20), Encoder()
    answers = await asyncio.gather(*(sets.get(key("cat", "dog"), encoder) for _ in range(9)))
    answers.append(await sets.get(key("cat", "dog"), encoder))
    assert encoder.calls == 1
    assert all(answer is VECTORS for answer in answers)


async def test_labels_of_another_order_or_template_are_another_set(label_sets: ModuleType) -> None:
    sets, encoder = label_sets.LabelSets(1 << 20), Encoder()
    for wanted in (key("cat", "dog"), key("dog", "cat"), ((b"cat", b"dog"), (b"a {}",))):
        await sets.get(wanted, encoder)
    assert encoder.calls == 3


async def test_a_failure_reaches_all_that_wait_and_is_forgotten(label_sets: ModuleType) -> None:
    sets, encoder = label_sets.LabelSets(1 << 20), Encoder(failures=1)
    answers = await asyncio.gather(
        *(sets.get(key("cat"), encoder) for _ in range(3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["no encoder"] * 3
    assert await sets.get(key("cat"), encoder) is VECTORS
    assert encoder.calls == 2


async def test_what_was_used_least_recently_goes_first(label_sets: ModuleType) -> None:
    sets, encoder = label_sets.LabelSets(2 * 4_500), Encoder()
    for label in ("a", "b", "a", "c", "a"):  # b goes when c comes
        await sets.get(key(label), encoder)
    assert encoder.calls == 3
    await sets.get(key("b"), encoder)
    assert encoder.calls == 4


async def test_a_set_beyond_the_limit_is_kept_alone(label_sets: ModuleType) -> None:
    sets, encoder = label_sets.LabelSets(1), Encoder()
    for _ in range(3):
        await sets.get(key("a"), encoder)
    assert encoder.calls == 1
