"""Small pictures of hits, decoded here from the files that were indexed."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from tritonclip_search.errors import SourceError, VideoError
from tritonclip_search.hits import Hit
from tritonclip_search.sources.opening import open_file, read
from tritonclip_search.video.sampling import frame_at

if TYPE_CHECKING:
    from PIL.Image import Image

# Of a file that is shown; larger ones are not read for the sake of a thumbnail.
_MAX_BYTES = 64 * 2**20


def of_hit(hit: Hit, side: int) -> Image | None:
    """What was found, upright, RGB, at most `side` a side; None where it can't be had."""
    if not hit.is_video:
        return thumbnail(hit.path, side)
    try:
        with open_file(hit.path) as file:
            shown = frame_at(file, hit.time).image
    except (OSError, SourceError, VideoError):
        return None
    shown.thumbnail((side, side))
    return shown


def thumbnail(path: str, side: int) -> Image | None:
    """The picture at `path`, as `of_hit` gives it."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(read(path, _MAX_BYTES))) as opened:
                opened.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a fraction
                upright = ImageOps.exif_transpose(opened)
                upright.thumbnail((side, side))
                rgba = upright.convert("RGBA")
    except (OSError, SourceError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    plain = Image.new("RGBA", rgba.size, "white")
    plain.alpha_composite(rgba)
    return plain.convert("RGB")
