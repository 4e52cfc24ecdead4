"""From vectors to decisions.

A bare cosine says little: what counts as high differs from prompt to prompt. A rule therefore
compares what it is about with what looks alike (`unless`) and with what pictures show otherwise
(neutral prompts), as the model was trained to compare. With the logits l = logit_scale * cosine +
logit_bias of a picture and each prompt, the probability that one of the rule's own prompts A
describes it, rather than any of the others B, is

    p = sum over A of exp(l) / (sum over A and B of exp(l) + s)

with s = 0 for models trained with a softmax: that is zero-shot classification over all prompts
(Radford et al. 2021, section 3.1), summed over those of the rule. For models trained with a
sigmoid, whose logits mean something each by itself (Zhai et al. 2023), s = 1: "none of them" is one
more alternative, with a logit of 0; for a single prompt without others that is its sigmoid.

A rule applies where p reaches its threshold; its margin is by how much the log-odds do,
log(p / (1 - p)) - log(t / (1 - t)). A calibrated rule's log-odds are first straightened by the two
numbers of its calibration. The margin of a head that gives scores is score - threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray
from tritonclip_search.policy.prepared import PreparedPolicy
from tritonclip_search.policy.rules import Action

_ROWS = 4096  # vectors at a time, so that what is computed on the way stays in the caches
_FEW = 16
# Beyond what log-odds can be, at the largest logit scale that CLIP's training allows, 100.
_STEP = 1e4
_TINY = 1e-300

_ACTIONS = tuple(Action)


class Evidence(NamedTuple):
    """What one rule made of one picture."""

    rule: str
    action: Action
    applies: bool
    prompt: str | None
    """The rule's prompt that is nearest to the picture; None for a head."""
    score: float
    """The cosine of that prompt with the picture, or what the head gives."""
    probability: float | None
    """That the rule's prompts describe the picture, or the head's; None for a head's score."""
    margin: float
    """By how much the threshold is passed; negative where the rule does not apply."""


class Decision(NamedTuple):
    """What follows for one picture, and the rule that it follows from."""

    action: Action
    rule: str | None
    """None where no rule applies."""
    nearest: Evidence
    """Of `rule`; where none applies, of the one that came nearest to it."""
    labels: tuple[str, ...]
    """Rules with the action `label` that apply."""
    evidence: tuple[Evidence, ...]
    """Of each rule, in the policy's order."""

    @property
    def prompt(self) -> str | None:
        """See `Evidence`; of `nearest`, like all that follows."""
        return self.nearest.prompt

    @property
    def score(self) -> float:
        """See `Evidence`."""
        return self.nearest.score

    @property
    def probability(self) -> float | None:
        """See `Evidence`."""
        return self.nearest.probability

    @property
    def margin(self) -> float:
        """See `Evidence`."""
        return self.nearest.margin


@dataclass(frozen=True, eq=False)
class Decisions(Sequence[Decision]):
    """Decisions on many pictures as arrays; each by its position as a `Decision`."""

    policy: PreparedPolicy
    scores: FloatArray
    """[pictures, rules]; see `Evidence`, as for the next three."""
    prompts: NDArray[np.int32]
    """Positions in each rule's `any`; -1 for a head."""
    log_odds: NDArray[np.float64]
    """Of the probabilities; scores, for heads that give those."""
    margins: NDArray[np.float64]
    severities: NDArray[np.int8]
    """[pictures]: `Action.severity` of what follows."""
    nearest: NDArray[np.int64]
    """[pictures]: the rule that it follows from, or the nearest one."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """[pictures, rules]; NaN for heads that give scores."""
        odds: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * self.log_odds))
        scored = [head is not None and head.gives_score for head in self.policy.heads]
        odds[:, scored] = np.nan
        return odds

    def __len__(self) -> int:
        return len(self.severities)

    def __getitem__(self, position: int) -> Decision:  # type: ignore[override]  # no slices
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return next(self._rows(slice(position, None if position == -1 else position + 1)))

    def __iter__(self) -> Iterator[Decision]:
        return self._rows(slice(None))

    def _rows(self, which: slice) -> Iterator[Decision]:
        rules = self.policy.policy.rules
        heads = self.policy.heads
        scored = [head is not None and head.gives_score for head in heads]
        rows = zip(
            self.scores[which].tolist(),
            self.prompts[which].tolist(),
            (0.5 * (1 + np.tanh(0.5 * self.log_odds[which]))).tolist(),
            self.margins[which].tolist(),
            self.severities[which].tolist(),
            self.nearest[which].tolist(),
            strict=True,
        )
        fixed = [
            (rule.name, rule.action, rule.any, rule.action is Action.LABEL, is_score)
            for rule, is_score in zip(rules, scored, strict=True)
        ]
        for scores, prompts, chances, margins, severity, nearest in rows:
            evidence = tuple(
                Evidence(
                    name,
                    action,
                    margin >= 0,
                    said[prompt] if prompt >= 0 else None,
                    score,
                    None if is_score else chance,
                    margin,
                )
                for (name, action, said, _, is_score), score, prompt, chance, margin in zip(
                    fixed, scores, prompts, chances, margins, strict=True
                )
            )
            decided = evidence[nearest]
            labels = tuple(
                one.rule for one, rule in zip(evidence, fixed, strict=True) if rule[3] and one[2]
            )
            yield Decision(
                _ACTIONS[severity],
                decided.rule if decided.applies else None,
                decided,
                labels,
                evidence,
            )


def decide(policy: PreparedPolicy, vectors: FloatArray) -> Decisions:
    """What a policy makes of pictures.

    Args:
        policy: prepared for the model of the vectors.
        vectors: unit vectors [pictures, dim], or one [dim].

    Returns:
        a decision for each.

    Raises:
        InvalidArgument: vectors of another length, or one of NaN, as of a picture that could not be
            embedded: nothing is allowed that nobody has looked at.
    """
    rows = np.atleast_2d(vectors)
    if rows.shape[1] != policy.info.dim:
        raise InvalidArgument(
            f"vectors of {rows.shape[1]} numbers, and the policy was prepared for {policy.info.dim}"
        )
    if (broken := np.flatnonzero(~np.isfinite(rows.sum(axis=1)))).size:
        raise InvalidArgument(
            f"the vector of picture {broken[0]} is not finite: it could not be embedded, and so "
            "cannot be decided on"
        )
    blocks = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)] or [rows]
    parts = [_decide(policy, block) for block in blocks]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Decisions(policy, *columns)


def _decide(policy: PreparedPolicy, vectors: FloatArray) -> tuple[NDArray[np.generic], ...]:
    scores, prompts, log_odds = _measure(policy, vectors)
    gives_score = np.array([head is not None and head.gives_score for head in policy.heads])
    straight = np.where(gives_score, log_odds, policy.scale * log_odds + policy.offset)
    margins = straight - policy.at
    severity = np.array([rule.action.severity for rule in policy.policy.rules])
    applies = margins >= 0
    # The most severe of those that apply, and of several the clearest; otherwise the nearest.
    rank = np.where(applies, severity * 2 * _STEP, 0) + np.clip(margins, -_STEP, _STEP)
    nearest = rank.argmax(axis=1)
    decided = np.where(applies.any(axis=1), severity[nearest], 0).astype(np.int8)
    return scores, prompts, straight, margins, decided, nearest


def _measure(
    policy: PreparedPolicy, vectors: FloatArray
) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.float64]]:
    """Scores, prompts and log-odds [vectors, rules], the latter not straightened yet."""
    # Prompts by pictures, so that all numbers of a prompt lie side by side.
    cosines = _cosines(policy.vectors, vectors)
    info = policy.info
    logits = cosines.astype(np.float64)
    logits *= info.logit_scale
    logits += info.logit_bias
    none = 0.0 if info.similarity == "softmax" else 1.0
    # Of all prompts, and of "none of them".
    peak = logits.max(axis=0, initial=-np.inf if not none else 0.0)
    logits -= peak
    powers = np.exp(logits, out=logits)
    own = policy.wanted_sums @ powers
    against = policy.other_sums @ powers
    if none:
        against += np.exp(-peak)
    log_odds = np.log(np.maximum(own, _TINY)) - np.log(np.maximum(against, _TINY))
    scores = np.empty((len(policy.heads), len(vectors)), np.float32)
    prompts = np.full(scores.shape, -1, np.int32)
    for row, head in enumerate(policy.heads):
        if head is not None:
            scores[row] = head.head.scores(vectors)[:, head.output]
            log_odds[row] = (
                scores[row] if head.gives_score else head.head.log_odds(vectors)[:, head.output]
            )
            continue
        prompts[row], scores[row] = _largest(cosines[policy.wanted[row]])
    return scores.T, prompts.T, log_odds.T


def _largest(rows: FloatArray) -> tuple[NDArray[np.int32], FloatArray]:
    """For each column the row of its largest number, and that; `argmax`, a whole row at a time."""
    places, best = np.zeros(rows.shape[1], np.int32), rows[0].copy()
    for place, row in enumerate(rows[1:], 1):
        places[row > best] = place
        np.maximum(best, row, out=best)
    return places, best


def _cosines(prompts: FloatArray, vectors: FloatArray) -> FloatArray:
    # As in the client's `scoring`: for a few pictures OpenBLAS's threads cost more than they save.
    if len(vectors) < _FEW:
        return np.asarray(np.einsum("pd,id->pi", prompts, vectors), np.float32)
    return np.asarray(prompts @ vectors.T, np.float32)
