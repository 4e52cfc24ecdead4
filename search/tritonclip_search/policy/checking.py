"""What is wrong with a policy that can be read, before it decides anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tritonclip import Client
from tritonclip_search.errors import InvalidHead, InvalidPolicy
from tritonclip_search.policy.prepared import (
    PreparedPolicy,
    check_threshold,
    prepare,
    texts,
)
from tritonclip_search.policy.rules import Policy, Rule

NEAR = 0.98
"""Cosine of two prompts from which on a picture hardly tells them apart."""


@dataclass(frozen=True)
class Finding:
    """Something about a policy that its author should know."""

    rule: str
    message: str
    is_error: bool = False
    """Whether the policy cannot do what it says."""


def check(policy: Policy) -> list[Finding]:
    """What its words alone show: contradictions, and what has no effect."""
    found = [finding for rule in policy.rules for finding in _within(rule)]
    for one, other in combinations(policy.rules, 2):
        found += _between(one, other)
    return found


def check_with_model(policy: Policy, client: Client) -> list[Finding]:
    """What only a model shows.

    Prompts beyond its context, or nearly the same to it; thresholds and heads that are not for it.
    """
    found: list[Finding] = []
    said = texts(policy)
    limit = client.info().context_length
    long = [
        text
        for text, windows in zip(said, client.embed_windows(said), strict=True)
        if len(windows) > 1
    ]
    for text in long:
        found.append(
            Finding(
                "",
                f"the prompt {_shortened(text)!r} is longer than the {limit} tokens that "
                "the model reads; the rest of it is not seen",
                is_error=True,
            )
        )
    for rule in policy.rules:
        try:
            check_threshold(policy, rule, client.info())
        except InvalidPolicy as error:
            found.append(Finding(rule.name, str(error), is_error=True))
    try:
        prepared = prepare(policy, client, uncalibrated=True)
    except (InvalidHead, InvalidPolicy) as error:
        return [*found, Finding("", str(error), is_error=True)]
    return [*found, *_near(prepared)]


def _within(rule: Rule) -> Iterator[Finding]:
    for prompt in rule.any:
        if prompt in rule.unless:
            yield Finding(
                rule.name, f"{prompt!r} is in 'any' and in 'unless'; it is one or the other", True
            )
        if prompt in rule.neutral and rule.templates == ("{}",):
            yield Finding(
                rule.name, f"{prompt!r} is neutral, too; it is left out there for this rule"
            )
    for kind, said in (("any", rule.any), ("unless", rule.unless)):
        for prompt in dict.fromkeys(text for text in said if said.count(text) > 1):
            yield Finding(
                rule.name, f"{prompt!r} is in {kind!r} more than once, and so counts more"
            )


def _between(one: Rule, other: Rule) -> Iterator[Finding]:
    """Of two rules about the same, the less severe one matters only where it applies earlier."""
    alike = (
        set(one.any) == set(other.any)
        and set(one.unless) == set(other.unless)
        and one.templates == other.templates
        and (one.head, one.label) == (other.head, other.label)
    )
    if not alike:
        return
    mild, severe = sorted((one, other), key=lambda rule: rule.action.severity)
    if mild.threshold == severe.threshold:
        if mild.action is severe.action:
            yield Finding(other.name, f"it says the same as the rule {one.name!r}")
        else:
            yield Finding(
                mild.name,
                f"it contradicts the rule {severe.name!r}: {mild.action.value} and "
                f"{severe.action.value} for the same pictures; {severe.action.value} wins",
                is_error=True,
            )
    elif (mild.threshold.at or 0) > (severe.threshold.at or 1):
        yield Finding(
            mild.name,
            f"it never decides: wherever it applies, the rule {severe.name!r} does, with the "
            f"action {severe.action.value}",
        )


def _near(policy: PreparedPolicy) -> Iterator[Finding]:
    """Prompts that are nearly the same vector, where they stand against each other."""
    cosines = policy.vectors @ policy.vectors.T
    for rule, wanted, others in zip(policy.policy.rules, policy.wanted, policy.others, strict=True):
        against = [*rule.unless, *(text for text in rule.neutral if text not in rule.any)]
        for own, other in _pairs(cosines, wanted, others):
            yield Finding(
                rule.name,
                f"{rule.any[own]!r} and {against[other]!r}, against which it stands, are nearly "
                f"the same to the model (cosine {cosines[wanted[own], others[other]]:.3f})",
            )
        for one, other in combinations(range(len(wanted)), 2):
            if cosines[wanted[one], wanted[other]] >= NEAR and wanted[one] != wanted[other]:
                yield Finding(
                    rule.name,
                    f"{rule.any[one]!r} and {rule.any[other]!r} are nearly the same to the model "
                    f"(cosine {cosines[wanted[one], wanted[other]]:.3f}); one is enough",
                )
    rules = list(zip(policy.policy.rules, policy.wanted, strict=True))
    for (one_rule, mine), (other_rule, theirs) in combinations(rules, 2):
        if one_rule.action is other_rule.action or set(one_rule.any) & set(other_rule.any):
            continue
        for own, other in _pairs(cosines, mine, theirs):
            yield Finding(
                one_rule.name,
                f"{one_rule.any[own]!r} and {other_rule.any[other]!r} of the rule "
                f"{other_rule.name!r} are nearly the same to the model, and lead to "
                f"{one_rule.action.value} and {other_rule.action.value}",
            )


def _pairs(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> list[tuple[int, int]]:
    if not len(rows) or not len(columns):
        return []
    return [(int(i), int(j)) for i, j in np.argwhere(cosines[np.ix_(rows, columns)] >= NEAR)]


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
