"""Encoded image -> PIXELS, bit for bit as the checkpoint's own transform gives them.

There are two references, and a checkpoint follows the rules of one:

- `open_clip`: its evaluation transform, made of torchvision's `Resize`, `CenterCrop`, timm's
  `ResizeKeepRatio` and `CenterCropOrPad`, all on Pillow images, *then* the conversion to RGB;
- `transformers`: its image processors on Pillow, which convert to RGB first.

The order matters (a palette image is resized before its colours are looked up, or after), and so
does every rounding below. EXIF orientation is not applied, because neither reference applies it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

INTERPOLATION = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}

# What a request may hold, as far as this Pillow can. It knows more formats; some (EPS) start other
# programs, others are rarely meant to be read from strangers.
Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if name in Image.OPEN
)


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
            max_bytes=int(value("max_bytes")),
            max_pixels=int(value("max_pixels")),
        )

    def pixels(self, encoded: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """PIXELS of one encoded image: uint8, shape [3, height, width].

        Raises:
            BadImageError: empty, too large, of an unsupported format, damaged or truncated, or so
                long and thin that resizing it would pass the pixel limit.
        """
        image = self._decode(encoded)
        try:
            if self.rules == "transformers":
                rgb = self._resize(self._to_rgb(image))
            else:
                rgb = self._resize(image).convert("RGB")
        except BadImageError:
            raise
        except Exception as error:
            raise BadImageError(
                f"{image.width} x {image.height} {image.mode} cannot be resized: {error}"
            ) from error
        return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))

    def _decode(self, encoded: bytes) -> Image.Image:
        if not encoded:
            raise BadImageError("it is empty (0 bytes)")
        if len(encoded) > self.max_bytes:
            raise BadImageError(f"{len(encoded)} bytes is over the limit of {self.max_bytes}")
        try:
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            self._check_pixels(image.size, "the image")
            image.load()
        except BadImageError:
            raise
        except UnidentifiedImageError as error:
            raise BadImageError(
                f"not a supported image ({', '.join(FORMATS)}); it begins with {encoded[:8]!r}"
            ) from error
        except Exception as error:  # Pillow's decoders raise almost anything on damaged data
            raise BadImageError(f"cannot be decoded: {error or type(error).__name__}") from error
        return image

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
        return image.convert("RGB")

    def _resize(self, image: Image.Image) -> Image.Image:
        """Resize and crop or pad to exactly [height, width], in the mode that `image` has."""
        if self.resize_mode == "squash":
            return image.resize((self.width, self.height), self.interpolation)
        size = self._size_before_crop(image.width, image.height)
        # A 1 x 100,000 image fits the limit, its resized form need not.
        self._check_pixels(size, "the resized form")
        if size != image.size:
            image = image.resize(size, self.interpolation)
        return self._crop_or_pad(image)

    def _size_before_crop(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing with the aspect ratio kept."""
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
        if self.rules == "transformers":
            # Odd margins are one larger at the end; what lies outside the image is black.
            left = (image.width - self.width) // 2
            top = (image.height - self.height) // 2
            return image.crop((left, top, left + self.width, top + self.height))
        # As torchvision's `CenterCrop` and timm's `CenterCropOrPad` do; they round alike.
        pad_width = max(self.width - image.width, 0)
        pad_height = max(self.height - image.height, 0)
        if pad_width or pad_height:
            border = (pad_width // 2, pad_height // 2, (pad_width + 1) // 2, (pad_height + 1) // 2)
            channels = len(image.getbands())
            palette = image.getpalette() if image.mode == "P" else None
            fill = (self.fill,) * channels if channels > 1 else self.fill
            image = ImageOps.expand(image, border, fill=fill)
            if palette is not None:
                image.putpalette(palette)
        left = round((image.width - self.width) / 2.0)
        top = round((image.height - self.height) / 2.0)
        return image.crop((left, top, left + self.width, top + self.height))
