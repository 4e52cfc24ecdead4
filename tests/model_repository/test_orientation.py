"""EXIF orientation, where asked for: the reference's pixels of what `exif_transpose` gives."""

import io

import numpy as np
import pytest
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageOps
from torchvision.transforms import Compose

from image_files import (
    EXIF,
    ORIENTATIONS,
    ORIENTED,
    PROCESSORS,
    TRANSFORMS,
    exif_block,
    oriented,
    photo,
    saved,
    spec,
    with_segments,
)
from tritonclip_export.checkpoint.transformers.images import image_spec
from tritonclip_export.served.code import image_transform


def upright(encoded: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))


def reference(config: dict[str, object], encoded: bytes) -> np.ndarray:
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    return np.asarray(Compose(transform.transforms[:-2])(upright(encoded))).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_pixels_equal_open_clips_of_the_upright_picture(name: str, orientation: int) -> None:
    config, encoded = TRANSFORMS[name], oriented(orientation)

    pixels = image_transform(spec(config), orient=True).pixels(encoded)

    np.testing.assert_array_equal(pixels, reference(config, encoded))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_equal_those_of_transformers_of_the_upright_picture(
    name: str, orientation: int
) -> None:
    kind, config = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**config)
    encoded = oriented(orientation)

    pixels = image_transform(image_spec(processor), orient=True).pixels(encoded)

    (expected,) = processor(upright(encoded), do_rescale=False, do_normalize=False)["pixel_values"]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("file", ORIENTED)
def test_every_format_that_has_an_orientation_is_turned_once(file: str) -> None:
    config = TRANSFORMS["shortest, not square"]

    pixels = image_transform(spec(config), orient=True).pixels(ORIENTED[file])

    np.testing.assert_array_equal(pixels, reference(config, ORIENTED[file]))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["shortest, not square", "squash, not square", "longest"])
def test_a_draft_is_turned_and_in_its_place(name: str, orientation: int) -> None:
    """Slopes would show a shift by part of a pixel, which drafts of odd sizes begin or end with."""
    rows, columns = np.mgrid[:411, :1003]
    slopes = np.stack([columns / 1003, rows / 411, (rows + columns) / 1414], axis=-1) * 255
    image = Image.fromarray(slopes.astype(np.uint8))
    encoded = oriented(orientation, image=image, quality=95, subsampling=0)

    draft = image_transform(spec(TRANSFORMS[name]), mode="draft", orient=True).pixels(encoded)

    expected = reference(TRANSFORMS[name], encoded)
    assert np.abs(draft.astype(int) - expected).max() <= 3
    assert not np.array_equal(draft, expected)


def test_a_draft_is_decoded_no_smaller_than_the_upright_picture_needs() -> None:
    """Across its stripes the lying picture has 512 pixels for 128, along them 128 for 32."""
    stripes = np.where(np.arange(512) // 8 % 2, 230, 20)[None, :, None] * np.ones((128, 1, 3))
    encoded = oriented(6, image=Image.fromarray(stripes.astype(np.uint8)), quality=95)
    tall = {"size": (128, 32), "resize_mode": "squash", "interpolation": "bicubic"}

    pixels = image_transform(spec(tall), mode="draft", orient=True).pixels(encoded)

    assert np.ptp(pixels[0, :, 16]) > 180


@pytest.mark.parametrize(
    "exif", [b"garbage", exif_block(6)[:14], b""], ids=["garbage", "cut off", "empty"]
)
def test_a_picture_whose_exif_is_damaged_is_taken_as_it_is(exif: bytes) -> None:
    transform = image_transform(spec(TRANSFORMS["squash"]), orient=True)

    np.testing.assert_array_equal(
        transform.pixels(with_segments(EXIF + exif)), transform.pixels(saved(photo(), "JPEG"))
    )


@pytest.mark.parametrize("encoded", [oriented(6)[:4000], oriented(6, "PNG")[:4000]])
def test_a_truncated_picture_is_refused_as_ever(encoded: bytes) -> None:
    with pytest.raises(ValueError, match=r"truncated|cannot be decoded"):
        image_transform(spec(TRANSFORMS["squash"]), orient=True).pixels(encoded)
