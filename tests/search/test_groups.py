"""Grouping of rows that are near each other."""

from __future__ import annotations

import numpy as np
import pytest

from tritonclip_search import groups


@pytest.mark.parametrize(("rows", "columns"), [(2048, 16384), (7, 11)])
def test_groups_are_what_is_connected_by_pairs_that_are_near(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_ROWS", rows)
    monkeypatch.setattr(groups, "_COLUMNS", columns)
    random = np.random.default_rng(5)
    angles = random.uniform(0, 6 * np.pi, 300)  # chains of near ones on three circles
    circles = (angles // (2 * np.pi)).astype(int)
    vectors = np.zeros((300, 6), np.float32)
    vectors[np.arange(300), 2 * circles] = np.cos(angles)
    vectors[np.arange(300), 2 * circles + 1] = np.sin(angles)
    threshold = float(np.cos(0.03))

    connected = vectors @ vectors.T >= threshold
    for _ in range(9):  # paths of up to 512 steps
        connected = connected.astype(np.float32) @ connected > 0
    wanted = {tuple(np.flatnonzero(row).tolist()) for row in connected}
    wanted = {some for some in wanted if len(some) > 1}

    assert 10 < len(wanted) < 100
    assert [tuple(some) for some in groups.group(vectors, threshold)] == sorted(wanted)


def test_thousands_of_the_same_are_one_group() -> None:
    same = np.tile(np.float32([0.6, 0.8, 0.0]), (6000, 1))
    same[[3, 5999]] = [0, 0, 1]
    first, second = groups.group(same, 0.9)
    assert (len(first), second) == (5998, [3, 5999])
