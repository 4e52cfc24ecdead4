"""Policies as YAML files, read with errors that name the line and the nearest right word."""

from __future__ import annotations

import difflib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tritonclip.errors import InvalidArgument
from tritonclip.prompts import resolve_templates
from tritonclip_search.errors import InvalidPolicy
from tritonclip_search.policy.rules import (
    DEFAULT_THRESHOLD,
    NEUTRAL,
    Action,
    Calibration,
    Goal,
    Interval,
    Policy,
    Rule,
    Threshold,
)

_POLICY = ("name", "rules", "neutral", "templates")
_RULE = ("name", "any", "unless", "templates", "head", "label", "action", "threshold")
_THRESHOLD = ("precision", "recall", "at", "calibrated")
_CALIBRATED = (
    *("labels", "model", "rule", "pictures", "positives", "scale", "offset", "precision"),
    "recall",
)
_ACTIONS = tuple(action.value for action in Action if action is not Action.ALLOW)


def load(path: Path | str) -> Policy:
    """The policy in a YAML file.

    Raises:
        InvalidPolicy: it cannot be read, or does not say what a policy has to; names the line.
    """
    file = Path(path)
    encoded = _read(file)
    return _Reader(file).policy(document(encoded, file), hashlib.sha256(encoded).hexdigest())


def document(encoded: bytes, file: Path) -> Any:
    """The YAML of a policy with its comments, so that it can be changed and written back.

    Raises:
        InvalidPolicy: it is not YAML.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _yaml().load(encoded.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidPolicy(f"{file} is not UTF-8: {error.reason}") from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidPolicy(f"{file}{line}: {error.problem or error.context}") from error
    except YAMLError as error:
        raise InvalidPolicy(f"{file} is not YAML: {error}") from error


def text_of(document: Any, before: str) -> str:
    """The text of a `document` that was changed; comments, order and indentation stay.

    Args:
        document: what `document` gave, changed.
        before: the text that it was read from.
    """
    from ruamel.yaml.util import load_yaml_guess_indent

    _, indent, offset = load_yaml_guess_indent(before)
    writer = _yaml()
    writer.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    written = io.StringIO()
    writer.dump(document, written)
    return written.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    both = YAML(typ="rt")
    both.preserve_quotes = True
    both.width = 100
    return both


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidPolicy(f"the policy {file} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Place:
    """A mapping of the document, and how to speak of it."""

    file: Path
    values: Any
    where: str

    def wrong(self, why: str, key: str | None = None) -> NoReturn:
        """Raise for what stands at `key`."""
        lines = getattr(self.values, "lc", None)
        line = None if lines is None else lines.line
        if lines is not None and key is not None and key in (lines.data or {}):
            line = lines.key(key)[0]
        at = f"{self.file}" if line is None else f"{self.file}:{line + 1}"
        raise InvalidPolicy(f"{at}: {self.where}{why}")

    def check(self, known: Sequence[str]) -> None:
        """That there is no other field."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                self.wrong(f"there is no field {key!r}; {hint}", key)

    def text(self, key: str) -> str:
        """A field that has to be there, and is text."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if value is None else f"is {value!r}, not text"
            self.wrong(f"{key!r} {what}", key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A field that is a list of texts; empty where it is not there."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(x, str) and x.strip() for x in value):
            odd = next((x for x in value if not isinstance(x, str)), value) if value else value
            self.wrong(f"{key!r} has to be a list of texts, and has {odd!r}; quote it?", key)
        return tuple(value)

    def number(self, key: str, low: float | None = None, high: float | None = None) -> float:
        """A field that is a number between `low` and `high`."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(f"{key!r} is {value!r}, not a number", key)
        if (low is not None and value <= low) or (high is not None and value >= high):
            self.wrong(f"{key!r} is {value}; it lies between {low:g} and {high:g}", key)
        return float(value)

    def below(self, key: str, where: str) -> _Place:
        """A field that is a mapping."""
        value = self.values.get(key)
        if not isinstance(value, Mapping):
            self.wrong(f"{key!r} is {value!r}, not fields", key)
        return _Place(self.file, value, where)


@dataclass(frozen=True)
class _Reader:
    file: Path

    def policy(self, read: Any, sha256: str) -> Policy:
        if not isinstance(read, Mapping):
            raise InvalidPolicy(f"{self.file} holds no fields; a policy has a name and rules")
        place = _Place(self.file, read, "")
        place.check(_POLICY)
        neutral = place.texts("neutral") if "neutral" in read else NEUTRAL
        rules = read.get("rules")
        if not isinstance(rules, list) or not rules:
            place.wrong("'rules' has to be a list of rules", "rules")
        parsed = []
        for number, values in enumerate(rules, 1):
            if not isinstance(values, Mapping):
                place.wrong(f"rule {number} is {values!r}, not fields", "rules")
            parsed.append(self._rule(values, number, place, neutral))
        names = [rule.name for rule in parsed]
        for position, name in enumerate(names):
            if name in names[:position]:
                second = _Place(self.file, rules[position], "")
                second.wrong(f"a second rule is called {name!r}", "name")
        return Policy(place.text("name"), tuple(parsed), self.file, sha256)

    def _rule(self, values: Any, number: int, policy: _Place, neutral: tuple[str, ...]) -> Rule:
        name = values.get("name")
        place = _Place(
            self.file, values, f"rule {name!r}: " if isinstance(name, str) else f"rule {number}: "
        )
        place.check(_RULE)
        name = place.text("name")
        action = place.text("action")
        if action not in _ACTIONS:
            near = difflib.get_close_matches(action, _ACTIONS, 1) or _ACTIONS
            place.wrong(f"the action {action!r} does not exist; {' or '.join(near)}", "action")
        prompts, head = place.texts("any"), None
        if bool(prompts) == ("head" in values):
            place.wrong("a rule has either prompts in 'any' or a 'head'")
        if "head" in values:
            head = self.file.parent / place.text("head")
            if not head.is_file():
                place.wrong(f"the head {head} does not exist", "head")
            if "unless" in values or "templates" in values:
                place.wrong("'unless' and 'templates' go with 'any', not with a head")
        elif "label" in values:
            place.wrong("'label' goes with a head", "label")
        templated = place if "templates" in values else policy
        return Rule(
            name=name,
            action=Action(action),
            any=prompts,
            unless=place.texts("unless"),
            neutral=neutral,
            templates=_templates(templated),
            head=head,
            label=place.text("label") if "label" in values else "",
            threshold=_threshold(place, is_head=head is not None),
        )


def _templates(place: _Place) -> tuple[str, ...]:
    given = place.values.get("templates", "plain")
    try:
        return resolve_templates(given if isinstance(given, str) else list(given))
    except (InvalidArgument, TypeError) as error:
        place.wrong(str(error), "templates")


def _threshold(place: _Place, *, is_head: bool) -> Threshold:
    if "threshold" not in place.values:
        return Threshold(at=DEFAULT_THRESHOLD)
    # The score of a head may be any number.
    low, high = (None, None) if is_head else (0.0, 1.0)
    if not isinstance(place.values["threshold"], Mapping):
        return Threshold(at=place.number("threshold", low, high))
    inner = place.below("threshold", f"{place.where}threshold: ")
    inner.check(_THRESHOLD)
    goal: Goal | None = None
    if "precision" in inner.values and "recall" in inner.values:
        inner.wrong("give either a precision or a recall to reach; two rules can have both")
    if "precision" in inner.values:
        goal = ("precision", inner.number("precision", 0, 1))
    elif "recall" in inner.values:
        goal = ("recall", inner.number("recall", 0, 1))
    elif "at" not in inner.values:
        inner.wrong("it needs a precision or a recall to reach, or a number")
    at = inner.number("at", low, high) if "at" in inner.values else None
    if "calibrated" not in inner.values:
        return Threshold(at, goal)
    return Threshold(
        at, goal, _calibration(inner.below("calibrated", f"{place.where}calibrated: "))
    )


def _calibration(place: _Place) -> Calibration:
    place.check(_CALIBRATED)
    return Calibration(
        labels=place.text("labels"),
        model=place.text("model"),
        rule=place.text("rule"),
        pictures=int(place.number("pictures")),
        positives=int(place.number("positives")),
        scale=place.number("scale"),
        offset=place.number("offset"),
        precision=_interval(place, "precision"),
        recall=_interval(place, "recall"),
    )


def _interval(place: _Place, key: str) -> Interval:
    match place.values.get(key):
        case [int() | float() as low, int() | float() as measured, int() | float() as high]:
            return float(low), float(measured), float(high)
    place.wrong(f"{key!r} has to be [low, measured, high]", key)
