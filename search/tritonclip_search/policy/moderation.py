"""Pictures that come one by one, decided some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np

from tritonclip_search.policy.decisions import Decision, decide
from tritonclip_search.policy.picture import Picture
from tritonclip_search.policy.prepared import PreparedPolicy

_BATCH = 256
# Seconds by which the end of one range and the beginning of the next may lie apart.
_TOUCHING = 0.05


class Moderated(NamedTuple):
    """A picture and what follows for it."""

    picture: Picture
    decision: Decision

    def to_plain(self) -> dict[str, Any]:
        """All of it but the vector, as strings, numbers and lists."""
        picture, decision = self
        moment = {"start": picture.start, "end": picture.end} if picture.end else {}
        return {
            "path": picture.path,
            "sha256": picture.sha256,
            **moment,
            "decision": decision.action.value,
            "rule": decision.rule,
            "prompt": decision.prompt,
            "score": decision.score,
            "probability": decision.probability,
            "margin": decision.margin,
            "labels": list(decision.labels),
            "rules": [{**one._asdict(), "action": one.action.value} for one in decision.evidence],
        }


def moderate(policy: PreparedPolicy, pictures: Iterable[Picture]) -> Iterator[Moderated]:
    """Decide on `pictures`, in their order; reads a few hundred of them ahead."""
    coming = iter(pictures)
    while batch := list(islice(coming, _BATCH)):
        decisions = decide(policy, np.stack([picture.vector for picture in batch]))
        yield from map(Moderated, batch, decisions)


def joined(moderated: list[Moderated]) -> list[Moderated]:
    """Neighbouring ranges of a video with one decision by one rule as a single range.

    It has the evidence of the clearest of them. Pictures stay as they are, in their order; ranges
    come behind them, by video and time.
    """
    result = [one for one in moderated if not one.picture.end]
    ranges = sorted(
        (one for one in moderated if one.picture.end),
        key=lambda one: (one.picture.path, one.picture.start),
    )
    for _, of_one in groupby(ranges, key=lambda one: one.picture.path):
        run: list[Moderated] = []
        for one in of_one:
            if run and not _alike(run[-1], one):
                result.append(_together(run))
                run = []
            run.append(one)
        result.append(_together(run))
    return result


def _alike(one: Moderated, other: Moderated) -> bool:
    return (
        (one.decision.action, one.decision.rule) == (other.decision.action, other.decision.rule)
    ) and other.picture.start - one.picture.end < _TOUCHING


def _together(run: list[Moderated]) -> Moderated:
    clearest = max(run, key=lambda one: one.decision.margin)
    first, last = run[0].picture, run[-1].picture
    vector = clearest.picture.vector
    picture = Picture(first.path, first.sha256, vector, first.start, last.end)
    return Moderated(picture, clearest.decision)
