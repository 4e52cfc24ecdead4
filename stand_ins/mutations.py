"""Pictures and texts as nobody means to send them: real ones, changed where formats can be hurt."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from PIL import Image

from tritonclip_export.samples import sample_images, sample_texts

# Numbers on which readers of formats have stumbled: none, one, the ends of each width.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "</s>", "<unk>", "&#x110000;")
_PNG = b"\x89PNG\r\n\x1a\n"

Draw = random.Random


@cache
def originals() -> dict[str, bytes]:
    """Small pictures by format and mode: those that servers read, and more that Pillow knows."""
    with Image.open(min(sample_images(), key=lambda file: file.stat().st_size)) as image:
        photo = image.convert("RGB").resize((90, 60))
    modes = {mode: photo.convert(mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK")}
    frames: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(90)] * 3}
    variants: dict[str, tuple[str, dict[str, Any]]] = {
        "JPEG": ("JPEG", {}),
        "progressive JPEG": ("JPEG", {"progressive": True}),
        "PNG": ("PNG", {}),
        "animated PNG": ("PNG", frames),
        "WEBP": ("WEBP", {}),
        "lossless WEBP": ("WEBP", {"lossless": True}),
        "animated WEBP": ("WEBP", frames),
        "GIF": ("GIF", {}),
        "animated GIF": ("GIF", frames),
        "BMP": ("BMP", {}),
        "TIFF": ("TIFF", {}),
        "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
        "JPEG in TIFF": ("TIFF", {"compression": "jpeg"}),
        "deflated TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
        "many pages TIFF": ("TIFF", frames),
        "AVIF": ("AVIF", {}),
        **{other: (other, {}) for other in ("ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "JPEG2000")},
    }
    found = {}
    for name, (format, options) in variants.items():
        for mode, made in modes.items():
            stream = io.BytesIO()
            try:
                made.save(stream, format, **options)
            except (OSError, ValueError, KeyError):  # a format without this mode, or not built in
                continue
            found[f"{name} {mode}"] = stream.getvalue()
    return found


def picture(draw: Draw) -> bytes:
    """A picture with one to four things wrong, or none that matters."""
    encoded = draw.choice(list(originals().values()))
    for _ in range(draw.choice((1, 1, 2, 4))):
        encoded = draw.choice(_CHANGES)(encoded, draw)
    return encoded


def _flip(encoded: bytes, draw: Draw) -> bytes:
    changed = bytearray(encoded)
    for _ in range(draw.choice((1, 3, 30))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _number(encoded: bytes, draw: Draw) -> bytes:
    """A number at the edge of what can be, mostly in the header, where sizes and offsets stand."""
    width, order = draw.choice("BHI"), draw.choice("<>")
    value = struct.pack(order + width, draw.choice(_EDGES) & (256 ** struct.calcsize(width) - 1))
    place = draw.randrange(max(1, min(len(encoded), draw.choice((40, 200, 10**9)))))
    return encoded[:place] + value + encoded[place + len(value) :]


def _cut(encoded: bytes, draw: Draw) -> bytes:
    return encoded[: draw.randrange(len(encoded) + 1)]


def _repeat(encoded: bytes, draw: Draw) -> bytes:
    start, end = _span(encoded, draw)
    return encoded[:end] + encoded[start:end] * draw.choice((1, 5, 200)) + encoded[end:]


def _leave_out(encoded: bytes, draw: Draw) -> bytes:
    start, end = _span(encoded, draw)
    return encoded[:start] + encoded[end:]


def _splice(encoded: bytes, draw: Draw) -> bytes:
    """One format within, before or behind another."""
    other = draw.choice(list(originals().values()))
    start, end = _span(encoded, draw)
    return draw.choice(
        (encoded[:start] + other + encoded[end:], encoded[:start] + other[start:], encoded + other)
    )


@cache
def _bomb(size: int) -> bytes:
    return zlib.compress(bytes(size))


def _chunk(encoded: bytes, draw: Draw) -> bytes:
    """A PNG with another chunk in it, whose checksum is right: other sizes, bombs, frames."""
    if not encoded.startswith(_PNG):
        return _segment(encoded, draw)
    bomb = _bomb(draw.choice((10**3, 10**6, 2 * 10**7)))
    header = struct.pack(
        ">IIBBBBB", draw.choice(_EDGES), draw.choice(_EDGES), *(draw.choice(_EDGES) & 255,) * 5
    )
    kind, content = draw.choice(
        (
            (b"IHDR", header),
            (b"iCCP", b"bomb\0\0" + bomb),
            (b"zTXt", b"bomb\0\0" + bomb),
            (b"IDAT", bomb),
            (b"acTL", struct.pack(">II", draw.choice(_EDGES), 0)),
            (b"fcTL", draw.randbytes(26)),
            (b"PLTE", draw.randbytes(draw.choice((1, 3, 768, 3000)))),
            (b"tRNS", draw.randbytes(draw.choice((1, 6, 300)))),
            (b"eXIf", _exif(draw)),
        )
    )
    summed = struct.pack(">I", zlib.crc32(kind + content))
    place = draw.choice((8, 33, len(encoded) - 12))
    return (
        encoded[:place]
        + struct.pack(">I", len(content))
        + kind
        + content
        + summed
        + encoded[place:]
    )


def _segment(encoded: bytes, draw: Draw) -> bytes:
    """A JPEG with another segment in front: metadata, another size, tables of anything."""
    if not encoded.startswith(b"\xff\xd8"):
        return _tag(encoded, draw)
    size = struct.pack(">BHHB", 8, draw.choice(_EDGES) & 65535, draw.choice(_EDGES) & 65535, 3)
    marker, content = draw.choice(
        (
            (0xE1, b"Exif\0\0" + _exif(draw)),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + draw.randbytes(200)),
            (0xE2, b"ICC_PROFILE\0\1\1" + draw.randbytes(300)),
            (0xE2, b"MPF\0" + _exif(draw)),
            (0xED, b"Photoshop 3.0\0" + b"8BIM" + draw.randbytes(60)),
            (0xEE, b"Adobe" + draw.randbytes(7)),
            (0xC0, size + draw.randbytes(9)),
            (0xC4, draw.randbytes(40)),
            (0xDB, draw.randbytes(65)),
            (0xDD, draw.randbytes(2)),
        )
    )
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return encoded[:2] + segment * draw.choice((1, 1, 50)) + encoded[2:]


def _tag(encoded: bytes, draw: Draw) -> bytes:
    """A TIFF one of whose tags says something else; other formats get a number."""
    if encoded[:4] != b"II*\0" or len(encoded) < 8:
        return _number(encoded, draw)
    start = struct.unpack("<I", encoded[4:8])[0]
    count = struct.unpack("<H", encoded[start : start + 2])[0] if start + 2 < len(encoded) else 0
    place = start + 2 + 12 * draw.randrange(max(1, count))
    entry = struct.pack(
        "<HHII",
        draw.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 320, 330, 34665, 34675)),
        draw.randrange(14),
        draw.choice(_EDGES),
        draw.choice((start, 0, *_EDGES)),
    )
    return encoded[:place] + entry + encoded[place + 12 :]


def _exif(draw: Draw) -> bytes:
    """One tag, sometimes in a directory that names itself as the next."""
    entry = struct.pack(
        ">HHII",
        draw.choice((0x0112, 0x8769, 0x8825)),
        draw.randrange(14),
        *draw.choices(_EDGES, k=2),
    )
    return struct.pack(">2sHIH", b"MM", 42, 8, 1) + entry + struct.pack(">I", draw.choice((0, 8)))


def _span(encoded: bytes, draw: Draw) -> tuple[int, int]:
    start = draw.randrange(len(encoded) + 1)
    return start, min(len(encoded), start + draw.choice((1, 4, 40, 400)))


_CHANGES: Sequence[Callable[[bytes, Draw], bytes]] = (
    *(_flip, _number, _cut, _repeat, _leave_out, _splice),
    *(_chunk, _chunk, _chunk),  # which is one of three, by format
)


def text(draw: Draw) -> bytes:
    """A text as it may come over the wire: mostly UTF-8, of any characters, of any length."""
    kind = draw.randrange(8)
    if kind == 0:
        return draw.randbytes(draw.choice((0, 1, 7, 300)))
    if kind == 1:
        return "".join(chr(_code_point(draw)) for _ in range(draw.choice((1, 20, 300)))).encode()
    words = [draw.choice(sample_texts()) for _ in range(draw.choice((1, 1, 2, 40)))]
    joined = draw.choice((" ", "", "\n", "\0", "\u200b", "&amp;amp;", "\u202e")).join(words)
    if kind == 2:  # as it looks after the wrong encoding, which cleaning mends
        joined = joined.encode().decode("latin-1")
    elif kind == 3:
        joined = draw.choice(_SPECIAL) + joined
    elif kind == 4:
        joined = draw.choice(joined or "x") * draw.choice((1, 100, 5000))
    encoded = joined.encode()
    if kind == 5 and encoded:
        place = draw.randrange(len(encoded))
        return encoded[:place] + draw.randbytes(1) + encoded[place + 1 :]
    return encoded


def _code_point(draw: Draw) -> int:
    point = draw.choice((draw.randrange(0x300), draw.randrange(0x110000)))
    return 0xFFFD if 0xD800 <= point < 0xE000 else point  # surrogates are no UTF-8
