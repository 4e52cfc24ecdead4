"""The demo's contact sheet: what was searched for and what was recognised, as one picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, MARGIN, GAP = 1600, 48, 16
# Drawn larger and reduced at the end: Pillow smooths text, but no corners of boxes.
SCALE = 2

PAPER, CARD, EDGE = "#f4f5f7", "#ffffff", "#e3e6ea"
INK, MUTED = "#16191d", "#68707b"
RIGHT, WRONG, TRACK = "#5a9e00", "#d64545", "#eceef1"

CREDIT = "Drawings: Twemoji, © 2020 Twitter, Inc and other contributors, CC BY 4.0"


@dataclass(frozen=True)
class Hit:
    """A picture that a search found."""

    picture: Path
    name: str
    cosine: float


@dataclass(frozen=True)
class Search:
    """A text and the pictures nearest to it, best first."""

    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Answer:
    """A picture, its name, and the labels that the model finds most probable, best first."""

    picture: Path
    name: str
    labels: tuple[tuple[str, float], ...]

    @property
    def is_right(self) -> bool:
        """Whether the first label is the name."""
        return self.labels[0][0] == self.name


@dataclass(frozen=True)
class Figure:
    """A number for the head of the sheet, and what it is."""

    value: str
    meaning: str


def draw(
    subtitle: str, figures: Sequence[Figure], searches: Sequence[Search], answers: Sequence[Answer]
) -> Image.Image:
    """The sheet, `WIDTH` pixels wide and as high as it needs to be."""
    row, columns, card = 178, 4, 132
    search_top = 236
    answer_top = search_top + row * len(searches) + 92
    rows = -(-len(answers) // columns)
    height = answer_top + rows * (card + GAP) + 52
    sheet = _Sheet(height)

    sheet.text((MARGIN, 44), "TritonCLIP", 52)
    sheet.text((MARGIN, 112), subtitle, 21, MUTED)
    for i, figure in enumerate(reversed(figures)):
        right = WIDTH - MARGIN - i * 190
        sheet.text((right, 50), figure.value, 42, anchor="ra")
        sheet.text((right, 112), figure.meaning, 19, MUTED, anchor="ra")

    sheet.text((MARGIN, search_top - 46), "Search by text", 26)
    sheet.box((MARGIN, search_top, WIDTH - MARGIN, search_top + row * len(searches)), CARD, EDGE)
    for i, search in enumerate(searches):
        _search(sheet, search, search_top + i * row, row, first=i == 0)

    sheet.text((MARGIN, answer_top - 46), "Zero-shot classification", 26)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    for i, answer in enumerate(answers):
        down, across = divmod(i, columns)
        left, top = MARGIN + across * (width + GAP), answer_top + down * (card + GAP)
        _answer(sheet, answer, left, top, width, card)

    sheet.text((MARGIN, height - 44), CREDIT, 16, MUTED)
    return sheet.image.resize((WIDTH, height), Image.Resampling.LANCZOS)


def _search(sheet: _Sheet, search: Search, top: int, height: int, *, first: bool) -> None:
    left, cell = MARGIN + 330, 146
    if not first:
        sheet.box((MARGIN + 24, top, WIDTH - MARGIN - 24, top + 1), EDGE, radius=0)
    sheet.text((MARGIN + 28, top + height // 2), f"“{search.query}”", 28, width=290, anchor="lm")
    for i, hit in enumerate(search.hits):
        middle = left + i * cell + cell // 2
        sheet.picture(hit.picture, (middle - 46, top + 20), 92)
        sheet.text((middle, top + 122), hit.name, 16, width=cell - 12, anchor="ma")
        sheet.text((middle, top + 144), f"{hit.cosine:.2f}", 15, MUTED, anchor="ma")


def _answer(sheet: _Sheet, answer: Answer, left: int, top: int, width: int, height: int) -> None:
    sheet.box((left, top, left + width, top + height), CARD, EDGE)
    sheet.picture(answer.picture, (left + 20, top + 20), 92)
    text, right = left + 132, left + width - 20
    (label, probability), *others = answer.labels
    colour = RIGHT if answer.is_right else WRONG
    sheet.text((text, top + 20), label, 21, width=right - text)
    bar = right - 56
    sheet.box((text, top + 57, bar, top + 65), TRACK, radius=4)
    sheet.box(
        (text, top + 57, text + max(8, (bar - text) * probability), top + 65), colour, radius=4
    )
    sheet.text((right, top + 61), f"{probability:.0%}", 18, anchor="rm")
    then = f"then {others[0][0]}" if others else ""
    remark = then if answer.is_right else f"it is: {answer.name}"
    sheet.text((text, top + 84), remark, 16, MUTED if answer.is_right else WRONG, right - text)


class _Sheet:
    """An empty sheet, and how to put things on it, in pixels of the finished one."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def box(
        self,
        corners: tuple[float, float, float, float],
        fill: str,
        outline: str | None = None,
        radius: int = 14,
    ) -> None:
        x0, y0, x1, y1 = (round(value * SCALE) for value in corners)
        self._draw.rounded_rectangle((x0, y0, x1, y1), radius * SCALE, fill, outline, SCALE)

    def picture(self, file: Path, at: tuple[int, int], size: int) -> None:
        with Image.open(file) as picture:
            scaled = picture.convert("RGB").resize(
                (size * SCALE, size * SCALE), Image.Resampling.LANCZOS
            )
        self.image.paste(scaled, (at[0] * SCALE, at[1] * SCALE))

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: str = INK,
        width: float | None = None,
        anchor: str = "la",
    ) -> None:
        """One line; cut short with an ellipsis where it is longer than `width`."""
        font = _font(size * SCALE)
        text = kept = _drawable(text)
        while width is not None and kept and font.getlength(kept) > width * SCALE:
            text = text[:-1]
            kept = text.rstrip() + "…"
        self._draw.text((at[0] * SCALE, at[1] * SCALE), kept, colour, font, anchor)


def _drawable(text: str) -> str:
    """Pillow's font has no accented letters: without their accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every wheel of Pillow has FreeType
    return font
