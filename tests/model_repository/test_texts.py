"""Texts of several lengths in one batch: the same embeddings, for less padding."""

import itertools
import threading
import time
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


def test_streams_share_the_rows_of_a_batch(
    texts: ModuleType, bundle: Callable[[str], Bundle]
) -> None:
    demo = bundle("demo")
    transform = text_transform(demo.info.text, demo.path)
    requests = [transform.pad([row]) for row in transform.encode(sample_texts())]
    pad_id, encoder, threads = demo.info.text.pad_id, Encoder(demo), set()

    def run(ids: np.ndarray) -> np.ndarray:
        threads.add(threading.get_ident())
        meeting.wait(10)  # so that each of them must be there
        return encoder(ids)

    together = texts.embed(requests, encoder, pad_id, False, 4096)
    meeting = threading.Barrier(3)
    shared = texts.embed(requests, run, pad_id, False, 4096, texts.Streams(3))

    assert np.abs(shared - together).max() < 1e-6
    assert len(threads) == 3
    assert threading.get_ident() in threads


def test_an_error_in_a_stream_is_raised_when_all_have_ended(texts: ModuleType) -> None:
    ended: list[int] = []

    def work(part: int) -> None:
        if part == 1:
            raise ValueError("id 999999 is not in the vocabulary")
        time.sleep(0.05)
        ended.append(part)

    with pytest.raises(ValueError, match="999999"):
        texts.Streams(3).do(work, [1, 2, 3])
    assert sorted(ended) == [2, 3]
    with pytest.raises(ValueError, match="999999"):
        texts.Streams(3).do(work, [2, 1, 3])
    assert sorted(ended) == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("lengths", "count", "shares"),
    [
        ([7], 2, [(0, 1)]),
        ([5, 77], 2, [(0, 1), (1, 2)]),
        ([8, 8, 8, 8], 2, [(0, 2), (2, 4)]),
        ([4, 4, 4, 4, 16], 2, [(0, 4), (4, 5)]),
        ([9, 9, 9], 4, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_shares_have_about_as_many_tokens_each(
    lengths: list[int], count: int, shares: list[tuple[int, int]], texts: ModuleType
) -> None:
    assert texts.shares(np.array(lengths), count) == shares


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
