"""The server's preprocessing gives the library's own pixels, bit for bit."""

import io
from itertools import product

import numpy as np
import pytest
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose

from image_files import FILES, PROCESSORS, TRANSFORMS, photo, saved, spec, square
from tritonclip_export.checkpoint.transformers.images import image_spec
from tritonclip_export.errors import CheckpointError
from tritonclip_export.served.code import image_transform
from tritonclip_export.served.parameters import Limits


def reference(config: dict[str, object], encoded: bytes) -> np.ndarray:
    """Open_clip's transform up to the last Pillow image."""
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    image = Compose(transform.transforms[:-2])(Image.open(io.BytesIO(encoded)))
    return np.asarray(image).transpose(2, 0, 1)


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
