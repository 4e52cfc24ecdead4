"""What a policy says, as data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, TypeAlias

NEUTRAL = (
    *("a photo", "a drawing", "a person", "a group of people", "an animal", "a plant", "food"),
    *("a building", "a room", "a landscape", "a vehicle", "clothes", "a household object"),
    *("a tool", "a screenshot", "a sign"),
)
"""What a picture may show when it shows nothing that a rule is about, unless the policy says
otherwise."""

DEFAULT_THRESHOLD = 0.5
"""Of a rule that names none: the picture is rather described by one of its prompts than by any
other."""


class Action(str, Enum):
    """What follows from a rule, or from all of them; the most severe one counts."""

    ALLOW = "allow"
    LABEL = "label"
    """Allowed, and marked with the rule's name."""
    REVIEW = "review"
    """A person has to look."""
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 for allow, up to 3 for block."""
        return list(Action).index(self)


Goal: TypeAlias = tuple[Literal["precision", "recall"], float]
"""What a threshold was, or shall be, chosen for."""
Interval: TypeAlias = tuple[float, float, float]
"""A share as measured, between the ends of its confidence interval: low, measured, high."""


@dataclass(frozen=True)
class Calibration:
    """Where a threshold comes from, as `policy calibrate` writes it."""

    labels: str
    """SHA-256 of the labels' file."""
    model: str
    """SHA-256 of the weights, of which the vectors were."""
    rule: str
    """`Rule.fingerprint` at that time."""
    pictures: int
    positives: int
    """Pictures of which the labels say that the rule is about them."""
    scale: float
    """With `offset`, what makes log-odds those of a probability that can be taken at its word."""
    offset: float
    precision: Interval
    recall: Interval


@dataclass(frozen=True)
class Threshold:
    """From where on a rule applies."""

    at: float | None = None
    """A probability; a score for heads that give scores. None where a goal waits for labels."""
    goal: Goal | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Rule:
    """One rule: either of prompts or of a head."""

    name: str
    action: Action
    any: tuple[str, ...] = ()
    """Prompts, each of which describes what the rule is about."""
    unless: tuple[str, ...] = ()
    """Prompts that describe what looks alike and is fine."""
    neutral: tuple[str, ...] = NEUTRAL
    """The policy's."""
    templates: tuple[str, ...] = ("{}",)
    """Sentences around `any` and `unless`."""
    head: Path | None = None
    label: str = ""
    """Which of the head's labels, if it has several."""
    threshold: Threshold = Threshold(at=DEFAULT_THRESHOLD)

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes the rule's log-odds; a head's tensors included."""
        said: list[object] = [self.any, self.unless, self.neutral, self.templates]
        if self.head is not None:
            said = [hashlib.sha256(self.head.read_bytes()).hexdigest(), self.label]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True)
class Policy:
    """Written rules."""

    name: str
    rules: tuple[Rule, ...]
    path: Path
    sha256: str
    """Of its file."""
