"""Image files of every kind that a server takes, and transforms of every kind that it applies."""

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tritonclip_export.bundle import ImageSpec
from tritonclip_export.samples import sample_images


def photo(width: int = 451, height: int = 300) -> Image.Image:
    chelsea = next(path for path in sample_images() if path.stem == "chelsea")
    return Image.open(chelsea).resize((width, height), Image.Resampling.LANCZOS)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def with_alpha(mode: str = "RGBA") -> Image.Image:
    image = photo().convert("RGBA")
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((40, 20, 400, 280), fill=200)
    image.putalpha(mask)
    return image.convert(mode)


def deep(mode: str) -> Image.Image:
    ramp = np.linspace(0, 65535, 300 * 200).reshape(200, 300)
    return Image.fromarray(ramp.astype({"I;16": np.uint16, "I": np.int32}[mode]))


def animated(format: str) -> bytes:
    frames = [photo().rotate(90 * turn) for turn in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:])


def transparent_palette() -> bytes:
    return saved(with_alpha().quantize(64), "PNG")


FILES = {
    "jpeg": lambda: saved(photo(), "JPEG", quality=90),
    "jpeg progressive": lambda: saved(photo(), "JPEG", progressive=True),
    "jpeg 4:4:4": lambda: saved(photo(), "JPEG", subsampling=0),
    "jpeg cmyk": lambda: saved(photo().convert("CMYK"), "JPEG"),
    "jpeg grey": lambda: saved(photo().convert("L"), "JPEG"),
    "jpeg exif-rotated": lambda: oriented(6),
    "jpeg of two pictures": lambda: saved(
        photo(), "MPO", save_all=True, append_images=[photo(90, 60)]
    ),
    "png": lambda: saved(photo(), "PNG"),
    "png palette": lambda: saved(photo().quantize(32), "PNG"),
    "png palette with transparency": transparent_palette,
    "png alpha": lambda: saved(with_alpha(), "PNG"),
    "png grey alpha": lambda: saved(with_alpha("LA"), "PNG"),
    "png 16 bit": lambda: saved(deep("I;16"), "PNG"),
    "tiff 32 bit": lambda: saved(deep("I"), "TIFF"),
    "png black and white": lambda: saved(photo().convert("1"), "PNG"),
    "webp": lambda: saved(photo(), "WEBP", quality=80),
    "webp lossless alpha": lambda: saved(with_alpha(), "WEBP", lossless=True),
    "webp animated": lambda: animated("WEBP"),
    "gif": lambda: saved(photo(), "GIF"),
    "gif animated": lambda: animated("GIF"),
    "bmp": lambda: saved(photo(), "BMP"),
    "tiff lzw": lambda: saved(photo(), "TIFF", compression="tiff_lzw"),
    "tiff cmyk": lambda: saved(photo().convert("CMYK"), "TIFF"),
    "tiff float": lambda: saved(photo().convert("F"), "TIFF"),
    "tiff lab": lambda: saved(Image.new("LAB", (90, 60), (120, 30, 200)), "TIFF"),
    "avif": lambda: saved(photo(), "AVIF"),
    "1 x 1": lambda: saved(photo(1, 1), "PNG"),
    "1 x 500": lambda: saved(photo(1, 500), "PNG"),
    "1000 x 3": lambda: saved(photo(1000, 3), "PNG"),
    "the target's size": lambda: saved(photo(64, 64), "PNG"),
    "one side of the target's size": lambda: saved(photo(64, 97), "PNG"),
    "odd margins": lambda: saved(photo(333, 217), "JPEG"),
    "smaller than the target": lambda: saved(photo(31, 17), "PNG"),
}

TRANSFORMS = {
    "shortest bicubic": {"size": 64, "resize_mode": "shortest", "interpolation": "bicubic"},
    "shortest bilinear": {"size": 65, "resize_mode": "shortest", "interpolation": "bilinear"},
    "shortest, not square": {
        "size": (48, 80),
        "resize_mode": "shortest",
        "interpolation": "bilinear",
    },
    "squash": {"size": 64, "resize_mode": "squash", "interpolation": "bicubic"},
    "squash, not square": {"size": (40, 72), "resize_mode": "squash", "interpolation": "bilinear"},
    "longest": {
        "size": 64,
        "resize_mode": "longest",
        "interpolation": "bicubic",
        "fill_color": 127,
    },
    "longest, not square": {
        "size": (72, 40),
        "resize_mode": "longest",
        "interpolation": "bilinear",
        "fill_color": 255,
    },
}


def interlaced_png() -> bytes:
    """An Adam7 PNG, which Pillow reads but does not write: seven passes of a grey image."""
    grey = np.asarray(photo(90, 60).convert("L"))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = b"".join(
        b"\0" + row.tobytes()
        for x, y, dx, dy in [*passes, (0, 1, 1, 2)]
        for row in grey[y::dy, x::dx]
    )

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 90, 60, 8, 0, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


FILES["png interlaced"] = interlaced_png
# To encode them takes longer than what is tested with them.
FILES = {name: functools.cache(make) for name, make in FILES.items()}


ORIENTATIONS = range(1, 9)
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def oriented(
    orientation: int, format: str = "JPEG", image: Image.Image | None = None, **options: Any
) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image or photo(), format, exif=exif, **options)


def with_segments(*contents: bytes) -> bytes:
    """A JPEG with these APP1 segments in front."""
    plain = saved(photo(), "JPEG")
    segments = (b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content for content in contents)
    return plain[:2] + b"".join(segments) + plain[2:]


def exif_block(orientation: int) -> bytes:
    """What an EXIF segment holds: one tag, of type SHORT, big-endian."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return struct.pack(">2sHIH", b"MM", 42, 8, 1) + entry + struct.pack(">I", 0)


def png_with_exif_at_its_end(orientation: int) -> bytes:
    png = saved(photo(), "PNG")
    content = b"eXIf" + exif_block(orientation)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:-12] + chunk + png[-12:]


# Files with an orientation in every place where one can stand.
ORIENTED = {
    "jpeg grey": oriented(6, image=photo().convert("L")),
    "jpeg cmyk": oriented(7, image=photo().convert("CMYK")),
    "jpeg of two pictures": oriented(8, "MPO", save_all=True, append_images=[photo(90, 60)]),
    "jpeg, big-endian": with_segments(EXIF + exif_block(5)),
    "jpeg, by XMP alone": with_segments(XMP + b'<x tiff:Orientation="6"/>'),
    "jpeg, two segments": with_segments(EXIF + exif_block(6), EXIF + exif_block(3)),
    "jpeg, no such orientation": with_segments(EXIF + exif_block(9)),
    "png": oriented(6, "PNG"),
    "png palette": oriented(5, "PNG", image=photo().quantize(32)),
    "png, at its end": png_with_exif_at_its_end(8),
    "webp": oriented(7, "WEBP"),
    "avif": oriented(6, "AVIF"),
    "tiff": oriented(6, "TIFF"),
    "gif": saved(photo(), "GIF"),
}


def spec(config: dict[str, object]) -> ImageSpec:
    size = config["size"]
    height, width = size if isinstance(size, tuple) else (size, size)
    return ImageSpec(
        height=height,
        width=width,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation=config["interpolation"],
        resize_mode=config["resize_mode"],
        fill=config.get("fill_color", 0),
    )


def square(size: int) -> dict[str, int]:
    return {"height": size, "width": size}


# As published: CLIP's own, a fine-tune with a margin, Chinese-CLIP and SigLIP, SigLIP 2, and what
# a configuration may say as well.
PROCESSORS = {
    "CLIP": ("CLIP", {"size": {"shortest_edge": 64}, "crop_size": square(64)}),
    "margin": ("CLIP", {"size": {"shortest_edge": 73}, "crop_size": square(64), "resample": 2}),
    "crop beyond the image": (
        "CLIP",
        {"size": {"shortest_edge": 51}, "crop_size": {"height": 64, "width": 48}},
    ),
    "lanczos": ("CLIP", {"size": {"shortest_edge": 65}, "crop_size": square(65), "resample": 1}),
    "Chinese-CLIP": ("ChineseCLIP", {"size": square(64), "do_center_crop": False}),
    "SigLIP": ("Siglip", {"size": square(64)}),
    "SigLIP 2": ("Siglip", {"size": {"height": 40, "width": 72}, "resample": 2}),
}
