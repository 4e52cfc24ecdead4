"""Encoded image -> PIXELS, bit for bit as the checkpoint's own transform gives them.

There are two references, and a checkpoint follows the rules of one:

- `open_clip`: its evaluation transform, made of torchvision's `Resize`, `CenterCrop`, timm's
  `ResizeKeepRatio` and `CenterCropOrPad`, all on Pillow images, *then* the conversion to RGB;
- `transformers`: its image processors on Pillow, which convert to RGB first.

The order matters (a palette image is resized before its colours are looked up, or after), and so
does every rounding below. Neither reference applies EXIF orientation. Where it is asked for, a
picture is turned before all else, as by `PIL.ImageOps.exif_transpose` in front of the reference.

The mode `draft` is not exact: JPEG files are decoded at a half, a quarter or an eighth of their
size, the smallest that is no smaller than what they are resized to. All else is as in `exact`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Box: TypeAlias = tuple[float, float, float, float]
Turn: TypeAlias = Image.Transpose

INTERPOLATION = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}

# By the value of EXIF's tag Orientation (CIPA DC-008, "Orientation"), as in `exif_transpose`.
TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
SWAPPING = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)

# What a request may hold, as far as this Pillow can. It knows more formats; some (EPS) start other
# programs, others are rarely meant to be read from strangers.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in Image.OPEN
)


def set_up_pillow(threads: int) -> None:
    """Set what Pillow has only for the whole process, which decodes in so many threads."""
    # `ImageTransform` has a limit of its own, which can differ between models.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")  # strangers' EXIF would fill the server's log
    # Blocks of 16 MiB that are kept: the kernel's fresh ones are a seventh of the time that a
    # photograph of 12 megapixels takes.
    Image.core.set_blocks_max(threads)  # type: ignore[attr-defined]


class BadImageError(ValueError):
    """The bytes are not an image that this model accepts; the message says why."""


@dataclass(frozen=True)
class ImageTransform:
    """Size, resize mode and limits of one checkpoint's preprocessing."""

    height: int
    width: int
    resize_mode: str
    short_side: int
    interpolation: Image.Resampling
    fill: int
    rules: str
    transparency: str
    mode: str
    orient: bool
    max_bytes: int
    max_pixels: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> ImageTransform:
        """Read the `parameters` of a parsed `config.pbtxt`."""

        def value(key: str) -> str:
            return str(parameters[key]["string_value"])

        height, width, resize_mode = int(value("height")), int(value("width")), value("resize_mode")
        interpolation = INTERPOLATION[value("interpolation")]
        if value("rules") == "open_clip" and resize_mode == "shortest" and height != width:
            # open_clip builds this one `ResizeKeepRatio` without passing the interpolation on.
            interpolation = Image.Resampling.BICUBIC
        return cls(
            height=height,
            width=width,
            resize_mode=resize_mode,
            short_side=int(value("short_side") or height),
            interpolation=interpolation,
            fill=int(value("fill")) if resize_mode == "longest" else 0,
            rules=value("rules"),
            transparency=value("transparency"),
            mode=value("mode"),
            orient=value("orient") == "true",
            max_bytes=int(value("max_bytes")),
            max_pixels=int(value("max_pixels")),
        )

    def pixels(self, encoded: bytes, out: Pixels | None = None) -> Pixels:
        """PIXELS of one encoded image: uint8, shape [3, height, width], in `out` if it is given.

        Raises:
            BadImageError: empty, too large, of an unsupported format, damaged or truncated, or so
                long and thin that resizing it would pass the pixel limit.
        """
        return self.decode(self.open(encoded), out)

    def decode(self, image: Image.Image, out: Pixels | None = None) -> Pixels:
        """`pixels` of an image that `open` gave.

        Raises:
            BadImageError: damaged, truncated, or too long and thin.
        """
        turn = self.turn(image)
        width, height = self.turned_size(image.size, turn)
        size = self.size_before_crop(width, height)
        box = self._load(image, self.turned_size(size, turn))
        try:
            if turn is not None:
                box = box and _turned_box(box, image.size, turn)
                image = image.transpose(turn)
            if self.rules == "transformers":
                rgb = self._resize(self._to_rgb(image), size, box)
            else:
                rgb = self._resize(image, size, box).convert("RGB")
        except Exception as error:
            raise BadImageError(
                f"{width} x {height} {image.mode} cannot be resized: {error}"
            ) from error
        if out is None:
            out = np.empty((3, self.height, self.width), np.uint8)
        for plane, band in zip(out, rgb.split(), strict=True):
            plane[...] = np.asarray(band)
        return out

    def open(self, encoded: bytes) -> Image.Image:
        """Read the header; the pixels are not decoded yet.

        Raises:
            BadImageError: empty, too large or of an unsupported format.
        """
        if not encoded:
            raise BadImageError("it is empty (0 bytes)")
        if len(encoded) > self.max_bytes:
            raise BadImageError(f"{len(encoded)} bytes is over the limit of {self.max_bytes}")
        try:
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise BadImageError(
                f"not a supported image ({', '.join(FORMATS)}); it begins with {encoded[:8]!r}"
            ) from error
        except Exception as error:  # Pillow's readers raise almost anything on damaged data
            raise _undecodable(error) from error
        self._check_pixels(image.size, "the image")
        return image

    def work(self, image: Image.Image) -> int:
        """Pixels to decode, or to resize to where those are more."""
        width, height = self._unchecked_size(*image.size)
        return max(image.width * image.height, width * height)

    def turn(self, image: Image.Image) -> Turn | None:
        """How `image`, opened or decoded, is to be turned before all else.

        Raises:
            BadImageError: a PNG is damaged, whose EXIF may stand behind the pixels.
        """
        if not self.orient or image.format == "TIFF":  # which Pillow turns while it decodes
            return None
        if image.format == "PNG":
            self._load(image, image.size)
        try:
            return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # a picture whose EXIF is damaged is shown as it is
            return None

    def size_before_crop(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of `width` and `height` is resized to.

        Raises:
            BadImageError: it is so long and thin that they are over the pixel limit, or zero.
        """
        size = self._unchecked_size(width, height)
        # A 1 x 100,000 image fits the limit, its resized form need not.
        self._check_pixels(size, "the resized form")
        if min(size) < 1:
            raise BadImageError(f"{width} x {height} cannot be resized to {size[0]} x {size[1]}")
        return size

    @staticmethod
    def turned_size(size: tuple[int, int], turn: Turn | None) -> tuple[int, int]:
        """Width and height of a picture of this size after `turn`, or before it."""
        return (size[1], size[0]) if turn in SWAPPING else size

    def crop_offset(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in a resized image; negative where it is padded instead."""
        return self._margin(width - self.width), self._margin(height - self.height)

    def _margin(self, excess: int) -> int:
        """Of a side that is `excess` longer than the crop, what is cut off before the crop."""
        if self.rules == "transformers":
            return excess // 2  # odd margins are one larger at the end
        # As torchvision's `CenterCrop` and timm's `CenterCropOrPad` do; they round alike.
        return round(excess / 2.0) if excess >= 0 else -(-excess // 2)

    def _load(self, image: Image.Image, size: tuple[int, int]) -> Box | None:
        """Decode, as a draft no smaller than `size`.

        Returns:
            Where the picture lies, if it does not fill its pixels to the edges.
        """
        try:
            # Only JPEG has it; for others it does nothing.
            drafted = image.draft(None, size) if self.mode == "draft" else None
            image.load()
        except Exception as error:  # Pillow's decoders raise almost anything on damaged data
            raise _undecodable(error) from error
        box = drafted[1] if drafted else None
        return None if box == (0, 0, *image.size) else box

    def _check_pixels(self, size: tuple[int, int], what: str) -> None:
        if size[0] * size[1] > self.max_pixels:
            raise BadImageError(
                f"{what} of {size[0]} x {size[1]} is over the limit of {self.max_pixels} pixels"
            )

    def _to_rgb(self, image: Image.Image) -> Image.Image:
        transparent = "A" in image.getbands() or image.info.get("transparency") is not None
        if self.transparency == "white" and transparent:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        return image if image.mode == "RGB" else image.convert("RGB")

    def _resize(self, image: Image.Image, size: tuple[int, int], box: Box | None) -> Image.Image:
        """Resize and crop or pad to exactly [height, width], in the mode that `image` has."""
        if size != image.size or box is not None:
            image = image.resize(size, self.interpolation, box=box)
        return self._crop_or_pad(image)

    def _unchecked_size(self, width: int, height: int) -> tuple[int, int]:
        if self.resize_mode == "squash":
            return self.width, self.height
        by_short_side = self.rules == "transformers" or self.height == self.width
        if self.resize_mode == "shortest" and by_short_side:
            # As in torchvision's `Resize(int)`, the long side is truncated, not rounded.
            short, long = sorted((width, height))
            new_long = int(self.short_side * long / short)
            return (self.short_side, new_long) if width <= height else (new_long, self.short_side)
        side = max if self.resize_mode == "longest" else min
        ratio = side(height / self.height, width / self.width)
        return round(width / ratio), round(height / ratio)

    def _crop_or_pad(self, image: Image.Image) -> Image.Image:
        pad_width = max(self.width - image.width, 0)
        pad_height = max(self.height - image.height, 0)
        # In transformers, what lies outside the image is black, which is what Pillow crops there.
        if (pad_width or pad_height) and self.rules != "transformers":
            border = (pad_width // 2, pad_height // 2, (pad_width + 1) // 2, (pad_height + 1) // 2)
            channels = len(image.getbands())
            palette = image.getpalette() if image.mode == "P" else None
            fill = (self.fill,) * channels if channels > 1 else self.fill
            image = ImageOps.expand(image, border, fill=fill)
            if palette is not None:
                image.putpalette(palette)
        left, top = self.crop_offset(*image.size)
        return image.crop((left, top, left + self.width, top + self.height))


def _turned_box(box: Box, size: tuple[int, int], turn: Turn) -> Box:
    """Where `box` in an image of this size lies after `turn`."""
    (left, upper, right, lower), (width, height) = box, size
    if turn in (Turn.FLIP_LEFT_RIGHT, Turn.ROTATE_180, Turn.TRANSVERSE, Turn.ROTATE_90):
        left, right = width - right, width - left
    if turn in (Turn.FLIP_TOP_BOTTOM, Turn.ROTATE_180, Turn.TRANSVERSE, Turn.ROTATE_270):
        upper, lower = height - lower, height - upper
    return (upper, left, lower, right) if turn in SWAPPING else (left, upper, right, lower)


def _undecodable(error: Exception) -> BadImageError:
    return BadImageError(f"cannot be decoded: {error or type(error).__name__}")
