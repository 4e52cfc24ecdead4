"""Thresholds that come from labelled pictures.

What a rule shall reach is a precision (of the pictures it catches, how many are right) or a recall
(of those it should catch, how many it does). A share of a few hundred examples is only known within
an interval, and a goal counts as reached where the lower end of that interval does. So a goal needs
a certain number of examples, and labels that are fewer are refused with the number that is missing.

Of a contrast's log-odds x, the probability 1 / (1 + exp(-(a x + b))) can be taken at its word once
a and b are fitted to labels (J. Platt, Probabilistic Outputs for Support Vector Machines, 1999; the
fit as in H.-T. Lin, C.-J. Lin and R. C. Weng, 2007). What is left between such probabilities and
shares is the expected calibration error (C. Guo et al., On Calibration of Modern Neural Networks,
2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tritonclip.types import FloatArray
from tritonclip_search.errors import InvalidLabels, InvalidPolicy, TooFewExamples
from tritonclip_search.policy.decisions import decide
from tritonclip_search.policy.intervals import trials_needed, wilson
from tritonclip_search.policy.labels import Labels
from tritonclip_search.policy.prepared import PreparedPolicy
from tritonclip_search.policy.rules import Calibration, Goal, Rule, Threshold

Floats = NDArray[np.float64]

_BINS = 10
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A rule whose threshold was chosen."""

    rule: str
    threshold: Threshold
    log_odds: Floats
    """Of each labelled picture, not straightened; a head's scores where it gives those."""
    said: Floats
    """1 or 0, of each."""
    error_before: float | None
    """Expected calibration error of the probabilities as they are; None for a head's scores."""
    error_after: float | None
    """Of the straightened ones, each by the fit to pictures other than it."""


@dataclass(frozen=True)
class Refused:
    """A rule whose threshold cannot be chosen from these labels."""

    rule: str
    why: TooFewExamples | InvalidPolicy


def calibrate(
    policy: PreparedPolicy, labels: Labels, vectors: FloatArray
) -> list[Calibrated | Refused]:
    """Choose the thresholds of all rules that have a goal.

    Args:
        policy: prepared with `uncalibrated`.
        labels: of pictures.
        vectors: theirs, [pictures, dim].

    Raises:
        InvalidPolicy: no rule has a goal.
        InvalidLabels: they say nothing about a rule that has one.
    """
    rules = policy.policy.rules
    if not any(rule.threshold.goal for rule in rules):
        raise InvalidPolicy(
            f"{policy.policy.path}: no rule has a goal; write threshold: {{precision: 0.95}}, or a "
            "recall, into those that shall get a threshold from labels"
        )
    plain = replace(policy, scale=np.ones(len(rules)), offset=np.zeros(len(rules)))
    odds = decide(plain, vectors).log_odds
    results: list[Calibrated | Refused] = []
    for column, rule in enumerate(rules):
        if rule.threshold.goal is None:
            continue
        if rule.name not in labels.said:
            raise InvalidLabels(
                f"{labels.file} has no column {rule.name!r}, and that rule wants a "
                f"{rule.threshold.goal[0]}"
            )
        known = ~np.isnan(labels.said[rule.name])
        head = policy.heads[column]
        try:
            results.append(
                _calibrate(
                    policy,
                    rule,
                    labels.sha256,
                    odds[known, column],
                    labels.said[rule.name][known],
                    is_score=head is not None and head.gives_score,
                )
            )
        except (TooFewExamples, InvalidPolicy) as error:
            results.append(Refused(rule.name, error))
    return results


def _calibrate(
    policy: PreparedPolicy, rule: Rule, labels: str, odds: Floats, said: Floats, *, is_score: bool
) -> Calibrated:
    assert rule.threshold.goal is not None
    cut = choose(odds, said, rule.threshold.goal, rule.name)
    before = after = None
    scale, offset, at = 1.0, 0.0, cut
    if not is_score:
        scale, offset = fit(odds, said)
        if scale <= 0:
            raise InvalidPolicy(
                f"rule {rule.name!r} is the less sure, the more a picture is what it is about; its "
                "prompts say something else than the labels"
            )
        at = probability(scale * cut + offset)
        before = calibration_error(_probabilities(odds), said)
        after = calibration_error(_cross_fitted(odds, said), said)
    caught = odds >= cut
    hits = float(said[caught].sum())
    calibration = Calibration(
        labels=labels,
        model=policy.info.weights_sha256,
        rule=rule.fingerprint,
        pictures=len(said),
        positives=int(said.sum()),
        scale=scale,
        offset=offset,
        precision=wilson(hits, int(caught.sum())),
        recall=wilson(hits, float(said.sum())),
    )
    threshold = Threshold(at, rule.threshold.goal, calibration)
    return Calibrated(rule.name, threshold, odds, said, before, after)


def choose(odds: Floats, said: Floats, goal: Goal, rule: str = "") -> float:
    """The log-odds from which on a rule reaches its goal, half-way to the next picture.

    For a precision the lowest such, which catches the most; for a recall the highest.

    Args:
        odds: of labelled pictures.
        said: 1 or 0, of each.
        goal: what to reach.
        rule: its name, for errors.

    Raises:
        TooFewExamples: it may be reached, but these examples do not show it.
        InvalidPolicy: it is not reached anywhere.
    """
    kind, wanted = goal
    order = np.argsort(-odds, kind="stable")
    sorted_odds = odds[order]
    hits = np.cumsum(said[order])
    # After each picture that differs from the next one: a threshold cannot lie between equals.
    ends = np.flatnonzero(np.append(sorted_odds[:-1] > sorted_odds[1:], True))
    positives = float(said.sum())
    trials = [end + 1.0 if kind == "precision" else positives for end in ends]
    reached = [
        end
        for end, tried in zip(ends, trials, strict=True)
        if wilson(float(hits[end]), tried)[0] >= wanted
    ]
    if reached:
        end = int(reached[-1] if kind == "precision" else reached[0])
        if end + 1 == len(odds):
            return float(sorted_odds[end]) - 1e-6
        return float(sorted_odds[end] + sorted_odds[end + 1]) / 2
    if kind == "recall":
        missing = trials_needed(1.0, wanted) - positives
        raise TooFewExamples(
            f"rule {rule!r}: a recall of {wanted:g} shows in {trials_needed(1.0, wanted):,.0f} "
            f"pictures that it is about, and the labels have {positives:.0f}: label {missing:,.0f} "
            "more of those"
        )
    if (needed := trials_needed(1.0, wanted)) > positives:
        raise TooFewExamples(
            f"rule {rule!r}: a precision of {wanted:g} shows in {needed:,.0f} pictures that are "
            f"caught and all right, and the labels have {positives:.0f} that it is about: label "
            f"{needed - positives:,.0f} more of those, or ask for less"
        )
    _refuse_precision(rule, wanted, [(float(hits[e]), e + 1.0) for e in ends], len(odds))


def _refuse_precision(
    rule: str, wanted: float, cuts: Sequence[tuple[float, float]], pictures: int
) -> NoReturn:
    """Raise, with how many pictures are missing at the threshold where the fewest are."""
    _, needed, hits, caught = min(
        ((n - c) / c, n - c, h, c) for h, c in cuts for n in [trials_needed(h / c, wanted)]
    )
    if math.isinf(needed):
        share, most = max((h / c, c) for h, c in cuts)
        raise InvalidPolicy(
            f"rule {rule!r} reaches a precision of {share:.2f} at best (of {most:.0f} pictures), "
            f"not {wanted:g}. Describe better what looks alike in 'unless', or train a head on the "
            "labels"
        )
    more = math.ceil(needed * pictures / caught)
    raise TooFewExamples(
        f"rule {rule!r}: that {hits:.0f} of {caught:.0f} caught pictures are right does not show a "
        f"precision of {wanted:g}; with so many right, {needed:,.0f} more that it catches would: "
        f"label about {more:,} more pictures like these, or ask for less"
    )


def fit(odds: Floats, said: Floats) -> tuple[float, float]:
    """Scale and offset of log-odds, fitted by maximum likelihood to labels, a little smoothed.

    Raises:
        TooFewExamples: there is not at least one picture of each kind.
    """
    positives = said.sum()
    negatives = len(said) - positives
    if not positives or not negatives:
        raise TooFewExamples("the labels have no picture of one kind; label some of both")
    targets = np.where(said > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # Newton's method, on odds of unit spread; a convex problem of two unknowns.
    spread = float(odds.std()) or 1.0
    x = np.stack([odds / spread, np.ones_like(odds)])
    weights = np.zeros(2)
    for _ in range(100):
        chances = _probabilities(weights @ x)
        gradient = x @ (chances - targets)
        curvature = (x * (chances * (1 - chances) + 1e-12)) @ x.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        step /= max(1.0, float(np.abs(step).max()) / 2)  # far off, the curve is flat
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0] / spread), float(weights[1])


def calibration_error(chances: Floats, said: Floats) -> float:
    """Expected calibration error, over ten bins of equally many pictures."""
    order = np.argsort(chances, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    return float(
        sum(len(part) * abs(chances[part].mean() - said[part].mean()) for part in bins) / len(said)
    )


def reliability(chances: Floats, said: Floats) -> list[tuple[float, float]]:
    """Mean probability and share of positives in each of those bins."""
    order = np.argsort(chances, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    return [(float(chances[part].mean()), float(said[part].mean())) for part in parts]


def probability(odds: float) -> float:
    """The sigmoid of log-odds."""
    return float(0.5 * (1 + np.tanh(0.5 * odds)))


def _probabilities(odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * odds)))


def _cross_fitted(odds: Floats, said: Floats) -> Floats:
    """Straightened probabilities of each picture, by a fit to those of the other folds."""
    chances = np.empty_like(odds)
    folds = np.empty(len(odds), np.int64)
    for kind in (0, 1):  # equally many of each kind in every fold
        places = np.flatnonzero(said == kind)
        folds[places] = np.arange(len(places)) % _FOLDS
    for fold in range(_FOLDS):
        held = folds == fold
        try:
            scale, offset = fit(odds[~held], said[~held])
        except TooFewExamples:
            scale, offset = fit(odds, said)
        chances[held] = _probabilities(scale * odds[held] + offset)
    return chances
