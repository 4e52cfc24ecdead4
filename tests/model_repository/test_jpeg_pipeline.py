"""The mode `dali`, with its operators for the CPU: near Pillow, and only for what it can take."""

import numpy as np
import pytest

from image_files import (
    FILES,
    ORIENTATIONS,
    ORIENTED,
    PROCESSORS,
    TRANSFORMS,
    oriented,
    photo,
    saved,
    spec,
)
from tritonclip_export.bundle import ImageSpec
from tritonclip_export.checkpoint.transformers.images import image_spec
from tritonclip_export.served import code

pytest.importorskip("nvidia.dali", reason="DALI is not installed")

JPEGS = [
    "jpeg",
    "jpeg progressive",
    "jpeg 4:4:4",
    "jpeg grey",
    "jpeg exif-rotated",
    "jpeg of two pictures",
    "odd margins",
]


def specs() -> dict[str, ImageSpec]:
    import transformers

    found = {name: spec(config) for name, config in TRANSFORMS.items()}
    for name, (kind, config) in PROCESSORS.items():
        found[name] = image_spec(getattr(transformers, f"{kind}ImageProcessorPil")(**config))
    return found


@pytest.mark.parametrize("name", [*TRANSFORMS, *PROCESSORS])
def test_pixels_are_near_the_exact_ones_in_every_resize_mode(name: str) -> None:
    transform = code.image_transform(specs()[name], mode="dali")
    pipeline = code.jpeg_pipeline(transform, 16)
    files = [FILES[file]() for file in JPEGS] + [saved(photo(40, 30), "JPEG", quality=95)]

    pixels = pipeline.pixels(files, [pipeline.placement(file) for file in files])

    for file, one in zip(files, pixels, strict=True):
        difference = np.abs(one.astype(int) - transform.pixels(file))
        assert difference.mean() < 0.6
        assert np.quantile(difference, 0.99) <= 3


def test_what_is_no_plain_complete_jpeg_is_left_to_pillow() -> None:
    pipeline = code.jpeg_pipeline(code.image_transform(spec(TRANSFORMS["squash"]), mode="dali"), 4)
    assert all(pipeline.placement(FILES[name]()) for name in JPEGS)
    others = [make for name, make in FILES.items() if "jpeg" not in name and name != "odd margins"]
    others += [FILES["jpeg cmyk"], lambda: FILES["jpeg"]()[:4000], lambda: b""]
    assert not any(pipeline.placement(make()) for make in others)


def test_a_file_that_cannot_be_decoded_spoils_one_batch_only() -> None:
    pipeline = code.jpeg_pipeline(code.image_transform(spec(TRANSFORMS["squash"]), mode="dali"), 4)
    good = FILES["jpeg"]()
    hollow = good[: good.index(b"\xff\xda")] + b"\xff\xd9"  # no scan follows its header
    both = [pipeline.placement(good), pipeline.placement(hollow)]
    assert all(both)

    before = pipeline.pixels([good], both[:1])
    assert pipeline.pixels([good, hollow], both) is None
    np.testing.assert_array_equal(pipeline.pixels([good], both[:1]), before)


@pytest.mark.parametrize("name", ["shortest, not square", "squash, not square", "longest"])
def test_every_orientation_is_near_the_exact_pixels_of_the_upright_picture(name: str) -> None:
    transform = code.image_transform(spec(TRANSFORMS[name]), mode="dali", orient=True)
    pipeline = code.jpeg_pipeline(transform, 16)
    files = [oriented(orientation) for orientation in ORIENTATIONS]
    # DALI itself dies of the first, if it is to read EXIF, and does not see the second.
    files += [ORIENTED["jpeg, two segments"], ORIENTED["jpeg, by XMP alone"]]

    pixels = pipeline.pixels(files, [pipeline.placement(file) for file in files])

    for file, one in zip(files, pixels, strict=True):
        difference = np.abs(one.astype(int) - transform.pixels(file))
        assert difference.mean() < 0.6
        assert np.quantile(difference, 0.99) <= 3
