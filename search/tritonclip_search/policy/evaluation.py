"""How a policy does on labelled pictures, in all and by group.

Models like CLIP are known to err more about some people than about others (Agarwal et al.,
Evaluating CLIP, 2021; OpenAI's model card), so the shares are also measured for each group that
the labels name: how often each is caught without a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritonclip.types import FloatArray
from tritonclip_search.policy.decisions import decide
from tritonclip_search.policy.intervals import wilson
from tritonclip_search.policy.labels import Labels
from tritonclip_search.policy.prepared import PreparedPolicy
from tritonclip_search.policy.rules import Interval, Policy

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Pictures of one group that a rule is not about."""

    name: str
    pictures: int
    false_positive_rate: Interval
    is_worse: bool
    """Whether its interval lies above that of all the other groups together."""


@dataclass(frozen=True)
class Evaluated:
    """One rule."""

    rule: str
    pictures: int
    positives: int
    precision: Interval
    """Of what it catches, how much is right; each with its 95 % interval."""
    recall: Interval
    """Of what it should catch, how much it does."""
    false_positive_rate: Interval
    """Of what it should not catch, how much it does."""
    groups: tuple[Group, ...]
    """Empty where the labels name none."""


def evaluate(policy: PreparedPolicy, labels: Labels, vectors: FloatArray) -> list[Evaluated]:
    """Measure each rule that `labels` have a column for, on `vectors` [pictures, dim]."""
    applies = decide(policy, vectors).margins >= 0
    groups = np.array(labels.groups)
    results = []
    for column, rule in enumerate(policy.policy.rules):
        if rule.name not in labels.said:
            continue
        said = labels.said[rule.name]
        known = ~np.isnan(said)
        results.append(_evaluate(rule.name, applies[known, column], said[known] > 0, groups[known]))
    return results


def chosen_on(policy: Policy, labels: Labels) -> list[str]:
    """Rules whose thresholds were chosen on these very labels, which then flatter them."""
    return [
        rule.name
        for rule in policy.rules
        if rule.threshold.calibration and rule.threshold.calibration.labels == labels.sha256
    ]


def _evaluate(rule: str, caught: Truths, said: Truths, groups: NDArray[np.str_]) -> Evaluated:
    hits = int((caught & said).sum())
    names = sorted(set(groups.tolist()) - {""})
    return Evaluated(
        rule,
        len(said),
        int(said.sum()),
        wilson(hits, int(caught.sum())),
        wilson(hits, int(said.sum())),
        _false(caught[~said]),
        tuple(_group(name, caught[~said], groups[~said]) for name in names),
    )


def _group(name: str, caught: Truths, groups: NDArray[np.str_]) -> Group:
    own = groups == name
    rate, others = _false(caught[own]), _false(caught[~own])
    return Group(name, int(own.sum()), rate, is_worse=rate[0] > others[2])


def _false(caught: Sequence[bool] | Truths) -> Interval:
    return wilson(int(np.sum(caught)), len(caught))
