"""A policy with the vectors of its prompts and its heads, ready to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tritonclip import Client
from tritonclip.info import ModelInfo
from tritonclip.prompts import LabelMeans
from tritonclip.types import FloatArray
from tritonclip_search.errors import InvalidPolicy
from tritonclip_search.heads import file as head_file
from tritonclip_search.heads.card import check_space
from tritonclip_search.heads.head import Head
from tritonclip_search.policy.prompts import filled
from tritonclip_search.policy.rules import Policy, Rule

_PLAIN = ("{}",)
_Prompt = tuple[str, tuple[str, ...]]
"""As it stands in the policy, and its templates."""


@dataclass(frozen=True, eq=False)
class RuleHead:
    """The head of a rule, and which of its outputs counts."""

    head: Head
    output: int

    @property
    def gives_score(self) -> bool:
        """Whether its threshold is a score, and not a probability."""
        return self.head.output == "score"


@dataclass(frozen=True, eq=False)
class PreparedPolicy:
    """See `prepare`."""

    policy: Policy
    info: ModelInfo
    """Of the model that embeds."""
    vectors: FloatArray
    """Unit vectors of all prompts, float32 [prompts, dim]."""
    wanted: tuple[NDArray[np.int64], ...]
    """Of each rule, which of them are its `any`, in order; none of a head's."""
    others: tuple[NDArray[np.int64], ...]
    """Of each rule, which are its `unless` and what is neutral."""
    heads: tuple[RuleHead | None, ...]
    """Of each rule."""
    scale: NDArray[np.float64]
    """[rules], of each rule's calibration, or 1."""
    offset: NDArray[np.float64]
    at: NDArray[np.float64]
    """[rules]: thresholds, as log-odds, or as the score of a head; infinite where there is none."""
    wanted_sums: NDArray[np.float64] = field(init=False)
    """[rules, prompts]: how often a prompt is one of `wanted`."""
    other_sums: NDArray[np.float64] = field(init=False)
    """[rules, prompts]: how often a prompt is one of `others`."""

    def __post_init__(self) -> None:
        """Turn places of prompts into sums over them."""
        for name, places in (("wanted_sums", self.wanted), ("other_sums", self.others)):
            sums = np.zeros((len(places), len(self.vectors)))
            for rule, some in enumerate(places):
                np.add.at(sums[rule], some, 1.0)
            object.__setattr__(self, name, sums)


def texts(policy: Policy) -> list[str]:
    """What has to be embedded for a policy: each of its prompts in each of its templates."""
    return [
        filled(text, template)
        for text, templates in _prompts(policy.rules)
        for template in templates
    ]


def prepare(policy: Policy, client: Client, *, uncalibrated: bool = False) -> PreparedPolicy:
    """Embed a policy's prompts and load its heads.

    Args:
        policy: what was written.
        client: of the model whose vectors shall be decided on.
        uncalibrated: take rules whose thresholds are still to be chosen; they never apply.

    Raises:
        InvalidPolicy: a threshold waits for labels, was chosen for another model, or before its
            rule was changed.
        InvalidHead: a head is for vectors of another model.
    """
    said = texts(policy)
    vectors = client.embed_texts(said)
    return prepared(policy, client.info(), vectors, uncalibrated=uncalibrated)


def prepared(
    policy: Policy, info: ModelInfo, embedded: FloatArray, *, uncalibrated: bool = False
) -> PreparedPolicy:
    """As `prepare`, with the vectors of `texts(policy)`, [texts, dim], embedded elsewhere."""
    if not uncalibrated:
        for rule in policy.rules:
            check_threshold(policy, rule, info)
    prompts = _prompts(policy.rules)
    places = {prompt: place for place, prompt in enumerate(prompts)}

    def wanted(rule: Rule) -> list[int]:
        return [places[text, rule.templates] for text in rule.any]

    def others(rule: Rule) -> list[int]:
        """What is neutral in general is not where a rule is about just that."""
        unless = [places[text, rule.templates] for text in rule.unless]
        neutral = [places[text, _PLAIN] for text in rule.neutral if rule.head is None]
        return unless + [place for place in neutral if place not in wanted(rule)]

    calibrations = [rule.threshold.calibration for rule in policy.rules]
    heads = tuple(_head(policy, rule, info) for rule in policy.rules)
    thresholds = [_threshold(rule, head) for rule, head in zip(policy.rules, heads, strict=True)]
    return PreparedPolicy(
        policy=policy,
        info=info,
        vectors=_means(prompts, embedded, info.dim),
        wanted=tuple(np.array(wanted(rule), np.int64) for rule in policy.rules),
        others=tuple(np.array(others(rule), np.int64) for rule in policy.rules),
        heads=heads,
        scale=np.array([1.0 if c is None else c.scale for c in calibrations]),
        offset=np.array([0.0 if c is None else c.offset for c in calibrations]),
        at=np.array(thresholds),
    )


def check_threshold(policy: Policy, rule: Rule, info: ModelInfo) -> None:
    """That the threshold of a rule means something for a model's vectors.

    Raises:
        InvalidPolicy: it does not.
    """
    threshold, calibration = rule.threshold, rule.threshold.calibration
    remedy = f"run `tritonclip policy calibrate {policy.path} --labels LABELS.csv`"
    if threshold.at is None:
        assert threshold.goal is not None
        kind, wanted = threshold.goal
        raise InvalidPolicy(
            f"{policy.path}: rule {rule.name!r} wants a {kind} of {wanted:g}, and no labels have "
            f"said yet which threshold gives that; {remedy}, or write a number: threshold: 0.5"
        )
    if calibration is None:
        return
    if calibration.model != info.weights_sha256:
        raise InvalidPolicy(
            f"{policy.path}: the threshold of rule {rule.name!r} was chosen for the model "
            f"{calibration.model[:12]}, and the server embeds with {info.source} "
            f"({info.weights_sha256[:12]}), whose numbers are others; {remedy}"
        )
    if calibration.rule != rule.fingerprint:
        raise InvalidPolicy(
            f"{policy.path}: rule {rule.name!r} has changed since its threshold was chosen; "
            f"{remedy}"
        )


def _prompts(rules: Sequence[Rule]) -> list[_Prompt]:
    """Each prompt once."""
    found: dict[_Prompt, None] = {}
    for rule in rules:
        if rule.head is None:
            found |= dict.fromkeys((text, rule.templates) for text in (*rule.any, *rule.unless))
            found |= dict.fromkeys((text, _PLAIN) for text in rule.neutral)
    return list(found)


def _means(prompts: Sequence[_Prompt], embedded: FloatArray, dim: int) -> FloatArray:
    rows = np.empty((len(prompts), dim), np.float32)
    start = 0
    for place, (_, templates) in enumerate(prompts):
        means = LabelMeans(1, len(templates), dim)
        for vector in embedded[start : start + len(templates)]:
            means.add(vector)
        rows[place] = means.result()[0]
        start += len(templates)
    return rows


def _head(policy: Policy, rule: Rule, info: ModelInfo) -> RuleHead | None:
    if rule.head is None:
        return None
    head = head_file.load(rule.head)
    check_space(head, info)
    if not rule.label and len(head.labels) == 1:
        return RuleHead(head, 0)
    if rule.label not in head.labels:
        what = (
            f"no label {rule.label!r}" if rule.label else "several labels; say which with 'label'"
        )
        raise InvalidPolicy(
            f"{policy.path}: rule {rule.name!r}: the head {rule.head} has {what}: "
            f"{', '.join(head.labels)}"
        )
    return RuleHead(head, head.labels.index(rule.label))


def _threshold(rule: Rule, head: RuleHead | None) -> float:
    at = rule.threshold.at
    if at is None:
        return float("inf")
    if head is not None and head.gives_score:
        return at
    if not 0 < at < 1:
        raise InvalidPolicy(
            f"rule {rule.name!r}: the threshold is {at:g}, and its head gives probabilities; "
            "it lies between 0 and 1"
        )
    return float(np.log(at / (1 - at)))
