"""Texts of several lengths in one dynamic batch, with as little padding as pays.

The tower is causal, so a text means the same at every length that holds it, and what an encoder
costs on a CPU grows with the tokens it sees. So rows run in groups of similar length, each as long
as its longest row.

Where threads that share one small product mostly wait for each other, each takes rows of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
Lengths = np.ndarray[Any, np.dtype[np.int64]]
FloatArray = np.ndarray[Any, np.dtype[np.float32]]

Part = TypeVar("Part")
Done = TypeVar("Done")

# What one more run of an encoder costs, in tokens. ViT-B/32's took 4 ms and 0.23 ms a token in
# FP32, 2.5 ms and 0.08 ms in INT8 (two vCPUs of an AMD EPYC, ONNX Runtime 1.31). A GPU is hardly
# busy with a few hundred.
CPU_TOKENS_A_RUN = 24
GPU_TOKENS_A_RUN = 4096


class Streams:
    """Threads that each do a part of what is to be done, the caller's among them."""

    def __init__(self, count: int) -> None:
        """Start all but the caller's."""
        self.count = count
        self._others = ThreadPoolExecutor(count - 1) if count > 1 else None

    def do(self, work: Callable[[Part], Done], parts: Sequence[Part]) -> list[Done]:
        """What `work` gives for each of up to `count` parts, when all have ended.

        Raises:
            Exception: what it raised for one of them.
        """
        if self._others is None:
            return [work(part) for part in parts]
        others = [self._others.submit(work, part) for part in parts[1:]]
        try:
            return [work(parts[0]), *(other.result() for other in others)]
        finally:
            wait(others)


ONE_STREAM = Streams(1)


def embed(
    inputs: Sequence[Ids],
    run: Callable[[Ids], FloatArray],
    pad_id: int,
    ends_with_pad: bool,
    tokens_a_run: int,
    streams: Streams = ONE_STREAM,
) -> FloatArray:
    """Embeddings of all rows, in the order in which they came.

    Args:
        inputs: TOKEN_IDS of requests, each [rows, length] with a length of its own.
        run: TOKEN_IDS [rows, length] -> embeddings [rows, dim]; called by every stream.
        pad_id: fills a row behind its text.
        ends_with_pad: whether `pad_id` also ends each text, so that one of it belongs to the text.
        tokens_a_run: how much padding is cheaper than another run.
        streams: that share the rows.
    """
    ids = np.full((sum(map(len, inputs)), max(rows.shape[1] for rows in inputs)), pad_id, np.int32)
    start = 0
    for rows in inputs:
        ids[start : start + len(rows), : rows.shape[1]] = rows
        start += len(rows)
    lengths = ids.shape[1] - (ids != pad_id)[:, ::-1].argmax(axis=1)
    if ends_with_pad:
        lengths = np.minimum(lengths + 1, ids.shape[1])
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]

    def run_part(part: tuple[int, int]) -> list[FloatArray]:
        first, end = part
        return [
            run(ids[order[first + start : first + stop], :length])
            for start, stop, length in groups(lengths[first:end], tokens_a_run)
        ]

    parts = streams.do(run_part, shares(lengths, streams.count))
    answers = [answer for part in parts for answer in part]
    embeddings = np.empty((len(ids), answers[0].shape[1]), answers[0].dtype)
    embeddings[order] = np.concatenate(answers)
    return embeddings


def shares(lengths: Lengths, count: int) -> list[tuple[int, int]]:
    """Rows of ascending `lengths` cut into at most `count` parts with about as many tokens each."""
    ends = np.cumsum(lengths)
    # A row belongs to the part that its middle falls into.
    cuts = np.searchsorted(ends - lengths / 2, ends[-1] * np.arange(1, count) / count).tolist()
    bounds = sorted({0, *cuts, len(lengths)})
    return list(itertools.pairwise(bounds))


def groups(lengths: Lengths, tokens_a_run: int) -> list[tuple[int, int, int]]:
    """How to run rows of ascending `lengths`: (start, end, length) of each group.

    The cheapest way there is, where a run costs its rows times its length and `tokens_a_run`.
    """
    values, counts = np.unique(lengths, return_counts=True)
    ends = [0, *np.cumsum(counts).tolist()]
    # The cheapest way to run all rows up to each length: its cost, and where its last group begins.
    best = [0]
    begins: list[int] = []
    for i, length in enumerate(values.tolist(), start=1):
        costs = [best[j] + tokens_a_run + (ends[i] - ends[j]) * length for j in range(i)]
        best.append(min(costs))
        begins.append(costs.index(best[-1]))
    found: list[tuple[int, int, int]] = []
    i = len(values)
    while i:
        first = begins[i - 1]
        found.append((ends[first], ends[i], int(values[i - 1])))
        i = first
    return found[::-1]
