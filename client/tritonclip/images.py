"""Images as callers have them, turned into the encoded files that the server decodes.

A file's bytes are sent untouched. Pillow images are encoded losslessly *in their own mode*: a CLIP
transform resizes before it converts to RGB, and a palette or CMYK image resizes differently from
its RGB conversion, so converting here would change the embedding.
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tritonclip.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

ACCEPTED = "a path, encoded bytes, a PIL image, or a uint8 array [H, W], [H, W, 3] or [H, W, 4]"

# What each format gives back in the mode it was given, also to the older Pillow of a server (which
# cannot read the YCbCr that it writes).
_BMP_MODES = frozenset({"L", "RGB"})
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_TIFF_MODES = frozenset({"CMYK", "F", "I", "I;16", "LAB", "PA"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)


def is_single_image(images: object) -> bool:
    """Whether `images` is one image rather than an iterable of them."""
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    # An open file, which is refused as such, would otherwise be taken for an iterable of its lines.
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, io.IOBase)
    return isinstance(images, kinds) or _is_pillow(images)


def image_name(image: object) -> str | None:
    """The path of an image that was given as a path."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def image_weight(image: object) -> int:
    """About how many bytes `image` will take in a request; never fails."""
    if isinstance(image, bytes):
        return len(image)
    if isinstance(image, np.ndarray):
        return image.nbytes
    if isinstance(image, bytearray | memoryview):
        return memoryview(image).nbytes
    if isinstance(image, str | os.PathLike):
        try:
            return Path(image).stat().st_size
        except (OSError, ValueError):
            return 0
    if _is_pillow(image):
        return image.width * image.height * len(image.getbands())
    return 0


def encode_image(image: object, index: int, max_bytes: int) -> bytes:
    """The encoded file of one image.

    Args:
        image: what the caller passed.
        index: its position in the caller's input, for errors.
        max_bytes: the largest encoded image that the server takes.

    Raises:
        ImageError: it cannot be read or encoded, or is larger than `max_bytes`.
    """
    try:
        encoded = _encode(image, max_bytes)
    except ValueError as error:
        raise ImageError(str(error), index, image_name(image)) from (error.__cause__ or error)
    if not encoded:
        raise ImageError("is empty (0 bytes)", index, image_name(image))
    if len(encoded) > max_bytes:
        reason = f"more than the {max_bytes:,} bytes this server takes; make it smaller"
        raise ImageError(reason, index, image_name(image))
    return encoded


def _encode(image: object, max_bytes: int) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return _read(os.fspath(image), max_bytes)
    if isinstance(image, np.ndarray):
        return _encode_array(image, max_bytes)
    if _is_pillow(image):
        return _encode_pillow(image, max_bytes)
    hint = " (what its .read() gives)" if isinstance(image, io.IOBase) else ""
    raise ValueError(f"is a {type(image).__name__}; pass {ACCEPTED}{hint}")


def _read(path: str, max_bytes: int) -> bytes:
    if _URL.match(path):
        raise ValueError("is a URL, which is never fetched; download it and pass its bytes")
    try:
        with Path(path).open("rb") as file:
            # Memory is reserved for what is asked for; a pipe does not tell how much that is. One
            # byte more than allowed tells that there is more.
            size = os.fstat(file.fileno()).st_size or max_bytes
            return file.read(min(size, max_bytes) + 1)
    except FileNotFoundError as error:
        raise ValueError("no such file") from error
    except OSError as error:
        if Path(path).is_dir():
            raise ValueError("is a directory; pass the paths of the images in it") from error
        raise ValueError(f"cannot be read: {error.strerror or error}") from error


def _encode_array(pixels: NDArray[Any], max_bytes: int) -> bytes:
    from PIL import Image

    what = f"is a numpy array of dtype {pixels.dtype} and shape {list(pixels.shape)}"
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not shaped or 0 in pixels.shape:
        hint = "; move the channels last" if pixels.ndim == 3 and pixels.shape[0] in (3, 4) else ""
        raise ValueError(f"{what}; pass [H, W], [H, W, 3] or [H, W, 4]{hint}")
    if pixels.dtype != np.uint8:
        raise ValueError(f"{what}; pass uint8 pixels from 0 to 255, e.g. (x * 255).astype('uint8')")
    return _encode_pillow(Image.fromarray(pixels), max_bytes)


def _encode_pillow(image: PillowImage, max_bytes: int) -> bytes:
    if image.mode not in _PNG_MODES | _TIFF_MODES:
        raise ValueError(f"has mode {image.mode}, which cannot be sent; use .convert('RGB')")
    file = io.BytesIO()
    try:
        if image.mode in _BMP_MODES and _largest_bmp(image) <= max_bytes:
            # Not compressed: up to twice the bytes of a photograph's PNG, in a fiftieth of the CPU
            # time here and a thirtieth at the server, which pays off from 0.2 Gbit/s.
            image.save(file, "BMP")
        elif image.mode in _PNG_MODES:
            # Level 1 takes a third of the default's time and makes photographs 5 to 10 % larger.
            image.save(file, "PNG", compress_level=1, icc_profile=None)
        else:
            image.save(file, "TIFF")
    except Exception as error:  # an image may decode only now, and decoders raise what they like
        raise ValueError(f"cannot be encoded: {error}") from error
    return file.getvalue()


def _largest_bmp(image: PillowImage) -> int:
    # Rows are padded to four bytes; headers and the palette of greys take 1,078.
    return (image.width + 3) * image.height * len(image.getbands()) + 1078


def _is_pillow(image: object) -> TypeGuard[PillowImage]:
    # Whoever holds a Pillow image has imported Pillow; everybody else is spared the import.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def snapshot(image: object) -> object:
    """`image`, copied if it is a buffer that its owner may overwrite before it is encoded.

    A loop that decodes video frames into one array would otherwise have its last frame embedded
    many times.
    """
    if isinstance(image, np.ndarray):
        return image.copy()
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    return image
