"""Texts of several lengths in one batch: the same embeddings, for less padding."""

import itertools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest

from tritonclip_export.bundle import Bundle
from tritonclip_export.samples import sample_texts
from tritonclip_export.served.code import text_transform
from tritonclip_export.served.sources import load


@pytest.fixture(scope="module")
def texts() -> ModuleType:
    return load("text_encoder/1/texts.py")


class Encoder:
    """A text encoder that remembers the shapes it was run at."""

    def __init__(self, bundle: Bundle) -> None:
        graph = bundle.file(bundle.artifact("text").file)
        self.session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        self.shapes.append(ids.shape)
        return self.session.run(None, {"TOKEN_IDS": ids})[0]


@pytest.mark.parametrize("tokens_a_run", [0, 24, 4096])
def test_texts_mean_the_same_whatever_they_are_run_with(
    tokens_a_run: int, texts: ModuleType, bundle: Callable[[str], Bundle]
) -> None:
    demo = bundle("demo")
    transform = text_transform(demo.info.text, demo.path)
    ids = transform.encode(sample_texts())
    context = demo.info.text.context_length
    encoder = Encoder(demo)
    alone = [encoder(transform.pad([row], context)) for row in ids]
    # Requests of one, seven and two texts, each as long as its longest.
    ends = [0, *itertools.accumulate([1, 7, 2] * 3), len(ids)]
    requests = [transform.pad(ids[start:end]) for start, end in itertools.pairwise(ends)]

    encoder.shapes.clear()
    together = texts.embed(requests, encoder, demo.info.text.pad_id, False, tokens_a_run)

    assert np.abs(together - np.concatenate(alone)).max() < 1e-6
    lengths = {len(row) for row in ids}
    assert sum(rows for rows, _ in encoder.shapes) == len(ids)
    if tokens_a_run == 0:
        assert [length for _, length in encoder.shapes] == sorted(lengths)
    elif tokens_a_run == 4096:
        assert encoder.shapes == [(len(ids), max(lengths))]
    else:
        assert 1 < len(encoder.shapes) < len(lengths)


def test_the_id_that_ends_a_text_is_kept_where_it_pads_as_well(texts: ModuleType) -> None:
    seen: list[list[list[int]]] = []

    def run(ids: np.ndarray) -> np.ndarray:
        seen.append(ids.tolist())
        return ids[:, :1].astype(np.float32)

    requests = [np.array([[1, 5, 9, 9, 9], [2, 5, 6, 7, 9]]), np.array([[3, 9]])]
    embeddings = texts.embed(requests, run, 9, True, 0)

    assert seen == [[[3, 9]], [[1, 5, 9]], [[2, 5, 6, 7, 9]]]
    assert embeddings.tolist() == [[1], [2], [3]]


@pytest.mark.parametrize("tokens_a_run", [0, 7, 24, 1000])
def test_no_other_grouping_is_cheaper(tokens_a_run: int, texts: ModuleType) -> None:
    generator = np.random.default_rng(7)

    def cost(ends: list[int], lengths: list[int]) -> int:
        return sum(
            tokens_a_run + (end - start) * lengths[end - 1]
            for start, end in itertools.pairwise([0, *ends, len(lengths)])
        )

    for _ in range(50):
        lengths = np.sort(generator.integers(3, 40, generator.integers(1, 9)))
        inner = range(1, len(lengths))
        least = min(
            cost(list(ends), lengths.tolist())
            for count in range(len(lengths))
            for ends in itertools.combinations(inner, count)
        )
        found = texts.groups(lengths, tokens_a_run)
        assert sum(tokens_a_run + (end - start) * n for start, end, n in found) == least
        assert [end for _, end, _ in found][:-1] == [start for start, _, _ in found][1:]
        assert (found[0][0], found[-1][1]) == (0, len(lengths))
