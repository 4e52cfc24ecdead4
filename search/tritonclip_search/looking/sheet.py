"""Hits as one picture: a sheet of thumbnails with their scores and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tritonclip_search.hits import Hit
from tritonclip_search.looking.thumbnails import of_hit
from tritonclip_search.video.timecode import span

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 5
_SIDE, _GAP, _LINE = 200, 16, 18
_INK, _FAINT, _EMPTY = "#222222", "#777777", "#eeeeee"


def sheet(title: str, hits: Sequence[Hit]) -> Image:
    """The hits in order, five in a row, RGB on white."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    rows = max(1, -(-len(hits) // _COLUMNS))
    cell = _SIDE + 2 * _LINE + _GAP
    width = _GAP + _COLUMNS * (_SIDE + _GAP)
    drawn = Image.new("RGB", (width, 3 * _LINE + rows * cell), "white")
    pen = ImageDraw.Draw(drawn)
    pen.text((_GAP, _LINE), _fitting(title, width - 2 * _GAP, font), _INK, font)
    for place, hit in enumerate(hits):
        x = _GAP + place % _COLUMNS * (_SIDE + _GAP)
        y = 3 * _LINE + place // _COLUMNS * cell
        pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill=_EMPTY)
        small = of_hit(hit, _SIDE)
        if small is not None:
            drawn.paste(small, (x + (_SIDE - small.width) // 2, y + (_SIDE - small.height) // 2))
        name = hit.path.rpartition("/")[2]
        pen.text((x, y + _SIDE), _fitting(name, _SIDE, font), _INK, font)
        below = f"{hit.score:.3f}" + (f"  {span(hit.start, hit.end)}" if hit.is_video else "")
        pen.text((x, y + _SIDE + _LINE), below, _FAINT, font)
    return drawn


def _fitting(text: str, width: int, font: object) -> str:
    from PIL.ImageFont import FreeTypeFont

    assert isinstance(font, FreeTypeFont)
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text
