"""Thresholds from labels: what is promised, what is refused, and what holds on other pictures."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from tritonclip_search import InvalidPolicy, TooFewExamples
from tritonclip_search.policy.calibration import calibration_error, choose, fit
from tritonclip_search.policy.intervals import trials_needed, wilson

Floats = NDArray[np.float64]


def drawn(count: int, seed: int, positives: float = 0.3) -> tuple[Floats, Floats]:
    """Log-odds of pictures and what they are: three apart on average, in the middle mixed."""
    random = np.random.default_rng(seed)
    said = (random.random(count) < positives).astype(float)
    return random.normal(3 * said, 1.0), said


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (98, 100), (1, 3), (499, 1000)])
def test_intervals_are_wilsons(hits: int, trials: int) -> None:
    low, share, high = wilson(hits, trials)
    expected = binomtest(hits, trials).proportion_ci(method="wilson")
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert share == hits / trials


def test_nothing_tried_is_nothing_known() -> None:
    low, share, high = wilson(0, 0)
    assert (low, high) == (0, 1)
    assert math.isnan(share)


@pytest.mark.parametrize("goal", [0.5, 0.9, 0.98])
def test_the_number_of_examples_that_a_goal_needs_is_the_least_that_shows_it(goal: float) -> None:
    needed = trials_needed(1.0, goal)
    assert wilson(needed, needed)[0] >= goal
    assert wilson(needed - 1, needed - 1)[0] < goal


def test_a_precision_is_reached_with_as_much_recall_as_can_be() -> None:
    odds, said = drawn(2000, seed=1)
    cut = choose(odds, said, ("precision", 0.9))
    caught = odds >= cut
    assert wilson(float(said[caught].sum()), int(caught.sum()))[0] >= 0.9
    lower = odds >= cut - 0.2
    assert wilson(float(said[lower].sum()), int(lower.sum()))[0] < 0.9


def test_a_recall_is_reached_with_as_few_pictures_as_can_be() -> None:
    odds, said = drawn(2000, seed=2)
    cut = choose(odds, said, ("recall", 0.9))
    positives = said.sum()
    assert wilson(float(said[odds >= cut].sum()), positives)[0] >= 0.9
    assert wilson(float(said[odds >= cut + 0.1].sum()), positives)[0] < 0.9


def test_what_was_promised_holds_on_other_pictures() -> None:
    others, truth = drawn(200_000, seed=3)
    kept = []
    for seed in range(200):
        odds, said = drawn(600, seed=100 + seed)
        caught = others >= choose(odds, said, ("precision", 0.9))
        kept.append(truth[caught].mean() >= 0.9)
    assert np.mean(kept) >= 0.9


def test_too_few_examples_are_refused_with_the_number_that_is_missing() -> None:
    odds, said = np.arange(60.0), (np.arange(60) >= 30).astype(float)
    needed = trials_needed(1.0, 0.95)
    for kind in ("precision", "recall"):
        with pytest.raises(TooFewExamples, match=rf"label {needed - 30:.0f} more of those"):
            choose(odds, said, (kind, 0.95), "weapon")  # type: ignore[arg-type]


def test_errors_make_more_examples_necessary() -> None:
    odds = np.arange(400.0)
    said = (odds >= 300).astype(float)
    said[[398, 399]] = 0
    with pytest.raises(TooFewExamples, match=r"that 98 of 100 caught pictures are right") as raised:
        choose(odds, said, ("precision", 0.95), "weapon")
    needed = trials_needed(0.98, 0.95)
    assert f"{needed - 100:.0f} more that it catches" in str(raised.value)
    (more,) = re.findall(r"label about ([\d,]+) more", str(raised.value))
    assert int(more.replace(",", "")) == 4 * (needed - 100)  # every fourth one is caught


def test_examples_that_are_just_enough_are_taken() -> None:
    needed = trials_needed(1.0, 0.95)
    enough = int(needed)
    choose(np.arange(2.0 * enough), np.repeat([0.0, 1.0], enough), ("precision", 0.95))


def test_a_goal_that_no_number_of_labels_will_reach_is_said_to_be_one() -> None:
    random = np.random.default_rng(4)
    said = (random.random(4000) < 0.5).astype(float)
    said[:100] = 0
    odds = -np.arange(4000.0)
    with pytest.raises(InvalidPolicy, match=r"reaches a precision of 0\.\d+ at best.*train a head"):
        choose(odds, said, ("precision", 0.95), "weapon")


def test_equal_pictures_are_never_torn_apart() -> None:
    odds = np.array([2.0] * 100 + [1.0] * 100)
    said = np.array([1.0] * 100 + [0.0] * 100)
    assert choose(odds, said, ("precision", 0.9)) == 1.5
    assert choose(odds, said, ("recall", 0.9)) == 1.5


def test_overconfident_odds_are_straightened() -> None:
    odds, said = drawn(5000, seed=5)
    scale, offset = fit(10 * odds - 7, said)
    # Of two normal distributions three apart the log-odds are 3 x - 4.5 + log(0.3 / 0.7).
    assert scale == pytest.approx(0.3, rel=0.1)
    assert offset == pytest.approx(7 * 0.3 - 4.5 + math.log(0.3 / 0.7), abs=0.4)
    before = calibration_error(1 / (1 + np.exp(-(10 * odds - 7))), said)
    after = calibration_error(1 / (1 + np.exp(-(scale * (10 * odds - 7) + offset))), said)
    assert after < 0.02 < before


def test_labels_that_are_apart_still_give_finite_numbers() -> None:
    scale, offset = fit(np.array([-3000.0, -2000, 2000, 3000]), np.array([0.0, 0, 1, 1]))
    assert 0 < scale < 1
    assert abs(offset) < 1
    with pytest.raises(TooFewExamples, match="no picture of one kind"):
        fit(np.arange(3.0), np.ones(3))
