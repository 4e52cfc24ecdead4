"""Pictures that come one by one, decided some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tritonclip_search.policy.decisions import Decision, decide
from tritonclip_search.policy.pictures import Picture
from tritonclip_search.policy.prepared import PreparedPolicy

_BATCH = 256


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
