"""How easily a policy is misled, and what helps: measured on the user's own pictures.

CLIP reads: an apple with a note that says "iPod" is taken for one (G. Goh et al., Multimodal
Neurons in Artificial Neural Networks, 2021). So for each rule the words of something else are drawn
onto pictures that it catches, and its own words onto those that it leaves alone; a blank label
shows how much of that is reading, and how much is what the label hides. The other attacks are what
happens to pictures on the web: turned, cropped, saved with low quality.

A rule's answer for a picture is flipped where it differs from that for the unharmed picture. The
counter-measures:

- contrast: each prompt of the rule, as writing, joins its `unless`;
- crops: vectors are means over five crops, see `crops`;
- review: a picture that rather shows writing than anything else goes to a person, and a flip there
  is no harm done.

Each costs something on unharmed pictures, which is measured, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tritonclip import Client
from tritonclip.types import FloatArray
from tritonclip_search.errors import SourceError
from tritonclip_search.policy.crops import CROPS, crops, mean, opened
from tritonclip_search.policy.decisions import decide
from tritonclip_search.policy.prepared import PreparedPolicy, prepare
from tritonclip_search.policy.rules import Action, Policy, Rule, Threshold

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MEASURES = ("none", "contrast", "crops", "review")
WRITING = (
    "a word written on a label",
    "writing on a piece of paper",
    "a sign with words",
    "text on a white background",
)
"""Prompts of the rule that sends pictures with writing to a person."""

_LABEL = (0.8, 0.28)  # of a picture's width and height, that words drawn onto it cover
_QUALITY = 15
_ARTICLE = re.compile(r"(?:an?|the) ", re.IGNORECASE)

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Flips:
    """What an attack does to a rule."""

    rule: str
    attack: str
    pictures: int
    hidden: int
    """Pictures that it caught and does no longer."""
    framed: int
    """Pictures that it catches only now."""
    flipped: dict[str, float]
    """Share of pictures that are flipped, by counter-measure."""


@dataclass(frozen=True)
class Cost:
    """What a counter-measure does to a rule's answers for unharmed pictures."""

    rule: str
    measure: str
    changed: float
    """Share of the answers that differ; for `review`, of pictures that go to a person."""


@dataclass(frozen=True)
class Attacked:
    """What was measured."""

    flips: tuple[Flips, ...]
    costs: tuple[Cost, ...]


def attack(
    policy: Policy, client: Client, files: Sequence[bytes], on_done: Callable[[int], object]
) -> Attacked:
    """Attack a policy's rules.

    Args:
        policy: what is attacked; rules of heads take part in all but what is about prompts.
        client: embeds.
        files: encoded pictures; what is none is passed over.
        on_done: told how many of them are done.

    Raises:
        SourceError: there is no picture among them.
    """
    plain = prepare(policy, client)
    hardened = _hardened(policy, plain, client)
    writing = _writing(policy, client)
    harms: list[str] = []
    answers: dict[tuple[str, str], list[Truths]] = {}
    noticed: dict[str, list[Truths]] = {}
    for number, encoded in enumerate(files, 1):
        try:
            image = opened(encoded)
        except (OSError, ValueError, SyntaxError):
            continue
        variants = _variants(image, plain, client)
        harms = list(variants)
        cut = [crop for variant in variants.values() for crop in crops(variant)]
        vectors = client.embed_images(cut).reshape(len(variants), CROPS, -1)
        whole, averaged = vectors[:, 0], np.stack([mean(some) for some in vectors])
        seen = decide(writing, whole).margins[:, 0] >= 0
        measured = {
            "none": _applies(plain, whole),
            "contrast": _applies(hardened, whole),
            "crops": _applies(plain, averaged),
        }
        for row, harm in enumerate(harms):
            noticed.setdefault(harm, []).append(seen[row])
            for measure, applies in measured.items():
                answers.setdefault((measure, harm), []).append(applies[row])
        on_done(number)
    if not answers:
        raise SourceError("none of the files is a picture")
    return _summary(policy.rules, harms, answers, noticed)


def written_on(image: PillowImage, words: str) -> PillowImage:
    """A picture with a white label in its middle that says `words`."""
    from PIL import ImageDraw, ImageFont

    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    width, height = _LABEL[0] * image.width, _LABEL[1] * image.height
    left, top = (image.width - width) / 2, (image.height - height) / 2
    pen.rectangle((left, top, left + width, top + height), fill="white")
    size = 0.8 * height
    font = ImageFont.load_default(size)
    if (needed := pen.textlength(words, font)) > 0.95 * width:
        font = ImageFont.load_default(max(4.0, size * 0.95 * width / needed))
    centre = (image.width / 2, image.height / 2)
    pen.text(centre, words, fill="black", font=font, anchor="mm")
    return drawn


def _variants(image: PillowImage, plain: PreparedPolicy, client: Client) -> dict[str, PillowImage]:
    """The picture itself, and what becomes of it by each attack."""
    from PIL import Image

    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=_QUALITY)
    x, y = round(0.1 * image.width), round(0.1 * image.height)
    variants = {
        "": image,
        "turned by 15 degrees": image.rotate(
            15, resample=Image.Resampling.BICUBIC, fillcolor="white"
        ),
        "turned by 90 degrees": image.rotate(90, expand=True),
        "cropped to 80 %": image.crop((x, y, image.width - x, image.height - y)),
        "saved with low quality": opened(saved.getvalue()),
        "a blank label": written_on(image, ""),
    }
    caught = _applies(plain, client.embed_images([image]))[0]
    for rule, is_caught in zip(plain.policy.rules, caught, strict=True):
        if rule.head is None:
            other = rule.unless[0] if rule.unless else rule.neutral[0]
            words = other if is_caught else rule.any[0]
            variants[_words(rule)] = written_on(image, _ARTICLE.sub("", words, count=1))
    return variants


def _words(rule: Rule) -> str:
    return f"words for {rule.name}"


def _applies(policy: PreparedPolicy, vectors: FloatArray) -> Truths:
    return np.asarray(decide(policy, vectors).margins >= 0)


def _hardened(policy: Policy, plain: PreparedPolicy, client: Client) -> PreparedPolicy:
    """The policy with its prompts, as writing, in `unless`; its thresholds stay as they are."""
    rules = [
        rule
        if rule.head
        else replace(rule, unless=rule.unless + tuple(f"the words {text}" for text in rule.any))
        for rule in policy.rules
    ]
    changed = prepare(replace(policy, rules=tuple(map(_unbound, rules))), client)
    return replace(changed, scale=plain.scale, offset=plain.offset, at=plain.at)


def _unbound(rule: Rule) -> Rule:
    """A rule whose threshold does not know for what it was chosen."""
    return replace(rule, threshold=replace(rule.threshold, calibration=None))


def _writing(policy: Policy, client: Client) -> PreparedPolicy:
    neutral = next((rule.neutral for rule in policy.rules), ())
    rule = Rule("writing", Action.REVIEW, any=WRITING, neutral=neutral, threshold=Threshold(0.5))
    return prepare(replace(policy, rules=(rule,)), client)


def _summary(
    rules: Sequence[Rule],
    harms: Sequence[str],
    answers: dict[tuple[str, str], list[Truths]],
    noticed: dict[str, list[Truths]],
) -> Attacked:
    stacked = {key: np.array(rows) for key, rows in answers.items()}
    flips: list[Flips] = []
    costs: list[Cost] = []
    for column, rule in enumerate(rules):
        before = stacked["none", ""][:, column]
        for harm in harms[1:]:
            if harm.startswith("words for ") and harm != _words(rule):
                continue
            after = stacked["none", harm][:, column]
            flipped = {
                measure: float(
                    np.mean(stacked[measure, harm][:, column] != stacked[measure, ""][:, column])
                )
                for measure in MEASURES[:-1]
            }
            flipped["review"] = float(np.mean((after != before) & ~np.array(noticed[harm])))
            flips.append(
                Flips(
                    rule.name,
                    "words" if harm == _words(rule) else harm,
                    len(before),
                    int((before & ~after).sum()),
                    int((after & ~before).sum()),
                    flipped,
                )
            )
        for measure in ("contrast", "crops"):
            changed = float(np.mean(stacked[measure, ""][:, column] != before))
            costs.append(Cost(rule.name, measure, changed))
        costs.append(Cost(rule.name, "review", float(np.mean(noticed[""]))))
    return Attacked(tuple(flips), tuple(costs))
