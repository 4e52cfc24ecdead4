"""What an image file says about itself, read from its first bytes without decoding it."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from datetime import datetime, timezone

from tritonclip_search.filter_values import microseconds

# Of EXIF 2.32: the date of taking lies in a directory of its own.
_EXIF_DIRECTORY, _TAKEN = 0x8769, 0x9003


@dataclass(frozen=True)
class Facts:
    """Of one encoded image; zero and empty where it does not say."""

    sha256: str
    format: str = ""
    width: int = 0
    height: int = 0
    taken: int = 0
    """Microseconds since 1970, as if the camera's clock were UTC: EXIF seldom says its zone."""


def facts_of(encoded: bytes) -> Facts:
    """Never fails: whether it is an image is for the server to say."""
    from PIL import Image

    sha256 = hashlib.sha256(encoded).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its size, or odd EXIF
            with Image.open(io.BytesIO(encoded)) as image:
                # Pillow decodes the whole of a PNG to find that it has no EXIF at its end.
                silent = image.format == "PNG" and "exif" not in image.info
                taken = 0 if silent else _taken(image.getexif())
                return Facts(sha256, image.format or "", *image.size, taken)
    except Exception:  # decoders raise what they like
        return Facts(sha256)


def _taken(exif: object) -> int:
    from PIL.Image import Exif

    assert isinstance(exif, Exif)
    value = exif.get_ifd(_EXIF_DIRECTORY).get(_TAKEN)
    try:
        moment = datetime.strptime(str(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return 0
    return microseconds(moment.replace(tzinfo=timezone.utc))
