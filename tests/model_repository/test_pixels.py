"""The server's preprocessing gives the library's own pixels, bit for bit."""

import io
from itertools import product

import numpy as np
import pytest
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageDraw
from torchvision.transforms import Compose

from tritonclip_export.bundle import ImageSpec
from tritonclip_export.errors import CheckpointError
from tritonclip_export.parameters import Limits
from tritonclip_export.samples import sample_images
from tritonclip_export.sources import image_transform
from tritonclip_export.transformers_images import image_spec


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


def rotated_by_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: rotate by 90 degrees
    return saved(photo(), "JPEG", exif=exif)


def transparent_palette() -> bytes:
    return saved(with_alpha().quantize(64), "PNG")


FILES = {
    "jpeg": lambda: saved(photo(), "JPEG", quality=90),
    "jpeg progressive": lambda: saved(photo(), "JPEG", progressive=True),
    "jpeg 4:4:4": lambda: saved(photo(), "JPEG", subsampling=0),
    "jpeg cmyk": lambda: saved(photo().convert("CMYK"), "JPEG"),
    "jpeg grey": lambda: saved(photo().convert("L"), "JPEG"),
    "jpeg exif-rotated": rotated_by_exif,
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
    import struct
    import zlib

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


def reference(config: dict[str, object], encoded: bytes) -> np.ndarray:
    """Open_clip's transform up to the last Pillow image."""
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    image = Compose(transform.transforms[:-2])(Image.open(io.BytesIO(encoded)))
    return np.asarray(image).transpose(2, 0, 1)


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


@pytest.mark.parametrize(("file", "name"), list(product(FILES, PROCESSORS)))
def test_pixels_equal_those_of_transformers(file: str, name: str) -> None:
    encoded = FILES[file]()
    kind, config = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**config)
    transform = image_transform(image_spec(processor))
    try:
        (expected,) = processor(
            Image.open(io.BytesIO(encoded)), do_rescale=False, do_normalize=False
        )["pixel_values"]
    except ValueError:  # a mode that does not convert to RGB
        with pytest.raises(ValueError, match="cannot be resized"):
            transform.pixels(encoded)
        return

    np.testing.assert_array_equal(transform.pixels(encoded), expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"do_center_crop": False}, "no conversion"),
        ({"size": square(70)}, "no conversion"),
        ({"do_resize": False}, "does not resize"),
        ({"resample": 0}, "filter 0"),
    ],
)
def test_a_processor_that_cannot_be_exact_is_refused(
    changes: dict[str, object], reason: str
) -> None:
    processor = transformers.CLIPImageProcessorPil(**changes)
    with pytest.raises(CheckpointError, match=reason):
        image_spec(processor)


def test_another_rescaling_is_folded_into_mean_and_deviation() -> None:
    processor = transformers.SiglipImageProcessorPil(
        rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[1.0] * 3
    )
    assert image_spec(processor).mean == image_spec(processor).std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("file", "transform"), list(product(FILES, TRANSFORMS)))
def test_pixels_equal_open_clips(file: str, transform: str) -> None:
    encoded, config = FILES[file](), TRANSFORMS[transform]
    try:
        expected = reference(config, encoded)
    except ValueError:  # so long and thin that a side of zero pixels remains
        with pytest.raises(ValueError, match="cannot be resized"):
            image_transform(spec(config)).pixels(encoded)
        return

    pixels = image_transform(spec(config)).pixels(encoded)

    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_the_files_are_what_their_names_say() -> None:
    modes = {name: Image.open(io.BytesIO(make())).mode for name, make in FILES.items()}
    assert modes["jpeg cmyk"] == modes["tiff cmyk"] == "CMYK"
    assert modes["jpeg grey"] == modes["png interlaced"] == "L"
    assert modes["png palette"] == modes["png palette with transparency"] == modes["gif"] == "P"
    assert modes["png 16 bit"] == "I;16"
    assert modes["tiff float"] == "F"
    interlaced = Image.open(io.BytesIO(FILES["png interlaced"]()))
    assert interlaced.info["interlace"] == 1
    np.testing.assert_array_equal(np.asarray(interlaced), np.asarray(photo(90, 60).convert("L")))


BAD = {
    "empty": (b"", "empty"),
    "garbage": (b"this is no image", "not a supported image"),
    "html": (b"<!doctype html><title>404</title>", "not a supported image"),
    "truncated jpeg": (FILES["jpeg"]()[:4000], "truncated"),
    "truncated png": (FILES["png"]()[:4000], "cannot be decoded"),
    "header only": (FILES["jpeg"]()[:20], "not a supported image|cannot be decoded"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a supported image"),
    "too many pixels": (saved(Image.new("1", (3000, 3000)), "PNG"), "over the limit of 4000000"),
    "too many bytes": (FILES["bmp"]() + bytes(3_000_000), "over the limit of 3000000"),
    "too thin to resize": (saved(Image.new("1", (200_000, 2)), "PNG"), "resized form"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_reason(name: str) -> None:
    encoded, reason = BAD[name]
    limits = Limits(max_image_bytes=3_000_000, max_image_pixels=4_000_000)
    transform = image_transform(spec(TRANSFORMS["shortest bicubic"]), limits)

    with pytest.raises(ValueError, match=reason):
        transform.pixels(encoded)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """12,000 x 12,000 pixels of one colour are 144 megapixels in 20 kB."""
    bomb = saved(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 100_000

    with pytest.raises(ValueError, match="12000 x 12000 is over the limit"):
        image_transform(spec(TRANSFORMS["squash"])).pixels(bomb)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_draft_differs_from_exact_only_where_a_jpeg_is_decoded_smaller(name: str) -> None:
    exact, draft = (
        image_transform(spec(TRANSFORMS[name]), mode=mode) for mode in ("exact", "draft")
    )
    differ = set()
    for file, make in FILES.items():
        encoded = make()
        try:
            expected = exact.pixels(encoded)
        except ValueError:  # a side of zero pixels
            continue
        pixels = draft.pixels(encoded)
        assert np.abs(pixels.astype(int) - expected).mean() < 3
        if not np.array_equal(pixels, expected):
            differ.add(file)
    assert {"jpeg", "jpeg progressive", "jpeg grey", "jpeg of two pictures"} <= differ
    assert all(file.startswith("jpeg") or file == "odd margins" for file in differ)


@pytest.mark.parametrize("width", [64, 127, 128, 130, 511, 517, 1000])
@pytest.mark.parametrize("name", ["shortest bicubic", "squash, not square", "longest"])
def test_a_draft_is_in_its_place(name: str, width: int) -> None:
    """A slope would show a shift; a picture decoded smaller than its target would be blurred."""
    slope = np.linspace(0, 255, width * 2)[None, :, None] * np.ones((width, 1, 3))
    encoded = saved(Image.fromarray(slope.astype(np.uint8)), "JPEG", quality=95)
    exact, draft = (
        image_transform(spec(TRANSFORMS[name]), mode=mode).pixels(encoded).astype(int)
        for mode in ("exact", "draft")
    )
    assert np.abs(draft - exact).max() <= 2


def test_a_draft_is_as_sharp_as_what_it_is_resized_to() -> None:
    stripes = np.where(np.arange(512) // 8 % 2, 230, 20)[None, :, None] * np.ones((512, 1, 3))
    encoded = saved(Image.fromarray(stripes.astype(np.uint8)), "JPEG", quality=95)
    pixels = image_transform(spec({**TRANSFORMS["squash"], "size": 128}), mode="draft").pixels(
        encoded
    )
    assert np.ptp(pixels[0, 64]) > 180


def test_a_draft_of_a_picture_over_the_limit_is_refused_by_its_own_size() -> None:
    large = saved(Image.new("RGB", (3000, 2000)), "JPEG")
    limits = Limits(max_image_pixels=4_000_000)
    with pytest.raises(ValueError, match="3000 x 2000 is over the limit"):
        image_transform(spec(TRANSFORMS["squash"]), limits, "draft").pixels(large)


def test_a_truncated_jpeg_is_refused_as_a_draft_too() -> None:
    with pytest.raises(ValueError, match="truncated"):
        image_transform(spec(TRANSFORMS["squash"]), mode="draft").pixels(FILES["jpeg"]()[:4000])
