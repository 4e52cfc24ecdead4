"""What a new policy would change, before it goes live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tritonclip_search.policy.audit import entries
from tritonclip_search.policy.decisions import Decision, decide
from tritonclip_search.policy.picture import Picture
from tritonclip_search.policy.prepared import PreparedPolicy
from tritonclip_search.policy.rules import Action

_BATCH = 4096


class Change(NamedTuple):
    """A picture that is decided on otherwise than before."""

    picture: Picture
    before: Action
    after: Decision


@dataclass
class Replayed:
    """What a replay found."""

    counts: Counter[tuple[Action, Action]] = field(default_factory=Counter)
    """How many pictures were decided on so before, and are so now."""
    changes: list[Change] = field(default_factory=list)
    unknown: int = 0
    """Pictures of which nothing was decided before."""


Before = Callable[[list[Picture]], list[Action | None]]
"""What was decided on pictures before; None where nothing was."""


def by_policy(policy: PreparedPolicy) -> Before:
    """What another policy makes of them."""

    def before(pictures: list[Picture]) -> list[Action | None]:
        decisions = decide(policy, np.stack([picture.vector for picture in pictures]))
        return [decision.action for decision in decisions]

    return before


def by_log(file: Path) -> Before:
    """What an audit log says was decided last on the same bytes.

    Raises:
        AuditError: there is no such log.
    """
    said: dict[tuple[str, float], Action] = {}
    for _, line in entries(file):
        try:
            body = json.loads(line)
            said[body["sha256"], body.get("start", 0.0)] = Action(body["decision"])
        except (ValueError, KeyError, TypeError):
            continue  # for `policy audit` to name
    return lambda pictures: [said.get((one.sha256, one.start)) for one in pictures]


def replay(policy: PreparedPolicy, pictures: Iterable[Picture], before: Before) -> Replayed:
    """Decide on `pictures` by `policy`, and compare."""
    found = Replayed()
    coming = iter(pictures)
    while batch := list(islice(coming, _BATCH)):
        decisions = decide(policy, np.stack([picture.vector for picture in batch]))
        for picture, old, new in zip(batch, before(batch), decisions, strict=True):
            if old is None:
                found.unknown += 1
                continue
            found.counts[old, new.action] += 1
            if old is not new.action:
                found.changes.append(Change(picture, old, new))
    return found
