"""A picture of how well texts fit a video over its time: curves above a strip of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tritonclip_search.errors import SourceError, VideoError
from tritonclip_search.sources.opening import open_file
from tritonclip_search.video.course import Course
from tritonclip_search.video.sampling import frame_at
from tritonclip_search.video.timecode import clock

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDTH, _CURVES, _STRIP, _EDGE, _LINE = 1200, 280, 90, 56, 20
_FRAMES = 10
# Of Okabe and Ito (2008), that colour-blind people can tell apart, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT, _GRID = "#222222", "#777777", "#e4e4e4"


def timeline(course: Course) -> Image:
    """RGB on white: a curve for each text, times below, and frames of the video."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    texts = len(course.texts)
    top = _LINE * (texts + 2)
    left, right = _EDGE, _WIDTH - _EDGE // 2
    bottom = top + _CURVES
    picture = Image.new("RGB", (_WIDTH, bottom + _STRIP + 3 * _LINE), "white")
    pen = ImageDraw.Draw(picture)
    begin, end = float(course.starts[0]), max(float(course.ends[-1]), 1e-3)
    low, high = float(course.scores.min()), float(course.scores.max())
    height = max(high - low, 1e-3)

    def x(time: float) -> float:
        return left + (right - left) * (time - begin) / (end - begin)

    def y(score: float) -> float:
        return bottom - _CURVES * (score - low) / height

    pen.text((left, _LINE // 2), course.path.rpartition("/")[2], _INK, font)
    for score in np.linspace(low, high, 5):
        pen.line((left, y(score), right, y(score)), _GRID)
        pen.text((8, y(score) - _LINE / 2), f"{score:.2f}", _FAINT, font)
    for row, text in enumerate(course.texts):
        colour = _COLOURS[row % len(_COLOURS)]
        points = [
            (x(time), y(score))
            for start, until, score in zip(
                course.starts, course.ends, course.scores[row], strict=True
            )
            for time in (start, until)
        ]
        pen.line(points, colour, 2, joint="curve")
        line = _LINE * (row + 1) + _LINE // 2
        pen.rectangle((left, line + 4, left + 14, line + 14), fill=colour)
        pen.text((left + 22, line), text, _INK, font)
    side = (right - left) // _FRAMES
    for place in range(_FRAMES):
        at = left + place * side
        time = begin + (end - begin) * place / _FRAMES
        pen.text((at, bottom + 4), clock(time), _FAINT, font)
        shown = _frame(course.path, time, (side - 4, _STRIP))
        if shown is not None:
            picture.paste(shown, (at, bottom + _LINE + 8))
    return picture


def _frame(path: str, time: float, size: tuple[int, int]) -> Image | None:
    try:
        with open_file(path) as file:
            image = frame_at(file, time).image
    except (OSError, SourceError, VideoError):
        return None
    image.thumbnail(size)
    return image
