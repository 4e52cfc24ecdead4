import io
import sys

import numpy as np
import pytest
from PIL import Image

from tritonclip.errors import ImageError
from tritonclip.images import encode_image, image_weight, is_single_image, snapshot

LIMIT = 10**7


def decoded(image: object) -> Image.Image:
    result = Image.open(io.BytesIO(encode_image(image, 0, LIMIT)))
    result.load()
    return result


def picture(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    if mode in ("LA", "PA", "RGBA"):
        rgb.putalpha(Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 2**16, (9, 7), dtype=np.uint16))
    if mode == "PA":
        return rgb.convert("LA").convert("PA")
    if mode == "LAB":
        return Image.frombytes("LAB", (7, 9), rgb.tobytes())
    return rgb.convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I", "I;16", "LAB", "PA"],
)
def test_pillow_images_keep_their_mode_and_pixels(mode):
    image = picture(mode)
    result = decoded(image)
    assert result.mode == mode
    assert result.size == image.size
    assert result.tobytes() == image.tobytes()
    if mode != "LAB":  # which Pillow cannot convert
        assert result.convert("RGB").tobytes() == image.convert("RGB").tobytes()


def test_a_palette_keeps_its_transparency():
    image = picture("P")
    image.info["transparency"] = 0
    assert decoded(image).convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "RGBa", "YCbCr"])
def test_modes_that_no_file_keeps_are_refused(mode):
    with pytest.raises(ImageError, match=rf"mode {mode}.*convert\('RGB'\)"):
        encode_image(Image.new(mode, (2, 2)), 0, LIMIT)


@pytest.mark.parametrize(
    ("shape", "mode"), [((5, 6), "L"), ((5, 6, 3), "RGB"), ((5, 6, 4), "RGBA")]
)
def test_arrays_are_pixels(shape, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    result = decoded(pixels)
    assert result.mode == mode
    assert (np.asarray(result) == pixels).all()
    # A mirrored view is not contiguous.
    assert (np.asarray(decoded(pixels[:, ::-1])) == pixels[:, ::-1]).all()


def test_pixels_are_compressed_only_where_they_would_be_too_large():
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert len(encode_image(pixels, 0, LIMIT)) > 30_000
    small = encode_image(pixels, 0, 30_000)
    assert len(small) < 1_000
    assert (np.asarray(Image.open(io.BytesIO(small))) == pixels).all()


@pytest.mark.parametrize(
    ("array", "remedy"),
    [
        (np.zeros((4, 4, 3)), r"float64 and shape \[4, 4, 3\].*uint8"),
        (np.zeros((3, 4, 5), np.uint8), r"\[3, 4, 5\].*channels last"),
        (np.zeros((4, 4, 2), np.uint8), r"\[4, 4, 2\]"),
        (np.zeros((4,), np.uint8), r"\[4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
    ],
)
def test_other_arrays_are_refused_with_the_remedy(array, remedy):
    with pytest.raises(ImageError, match=remedy):
        encode_image(array, 0, LIMIT)


def test_bytes_are_sent_untouched():
    for data in (b"anything", bytearray(b"anything"), memoryview(b"anything")):
        assert encode_image(data, 0, LIMIT) == b"anything"


def test_a_path_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"jpeg")
    assert encode_image(path, 0, LIMIT) == encode_image(str(path), 0, LIMIT) == b"jpeg"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ("missing.jpg", "missing.jpg.*no such file"),
        (".", "is a directory"),
        ("https://example.org/a.jpg", "URL, which is never fetched"),
        ("data:image/png;base64,AAAA", "never fetched"),
        ("nul\0byte", "null"),
        (b"", "empty"),
        (3, "is a int"),
        (io.BytesIO(b"x"), r"is a BytesIO.*\.read\(\)"),
        (None, "is a NoneType"),
    ],
)
def test_what_is_not_an_image_is_refused_with_its_position(image, complaint):
    with pytest.raises(ImageError, match=complaint) as caught:
        encode_image(image, 7, LIMIT)
    assert caught.value.index == 7
    assert str(caught.value).startswith("image 7")
    assert caught.value.source == (image if isinstance(image, str) else None)


def test_an_unreadable_file_is_refused_with_its_cause(tmp_path):
    folder = tmp_path / "file"
    folder.write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be read: Not a directory") as caught:
        encode_image(folder / "inside.jpg", 0, LIMIT)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_truncated_pillow_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    picture("RGB").resize((300, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with Image.open(path) as image, pytest.raises(ImageError, match="cannot be encoded"):
        encode_image(image, 0, LIMIT)


def test_images_larger_than_the_server_takes_are_not_sent(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(b"x" * 101)
    for image in (path, b"x" * 101):
        with pytest.raises(ImageError, match="more than the 100 bytes"):
            encode_image(image, 0, 100)
    assert encode_image(b"x" * 100, 0, 100)


def test_one_image_is_told_from_many():
    one = [
        "a.jpg",
        io.BytesIO(),
        b"x",
        bytearray(1),
        Image.new("L", (1, 1)),
        np.zeros((2, 2, 3), np.uint8),
    ]
    assert all(map(is_single_image, one))
    assert not any(
        map(is_single_image, [[], (), iter(()), {"a"}, np.zeros((5, 2, 2, 3), np.uint8)])
    )


def test_weights_are_about_the_bytes_to_send(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert image_weight(b"123") == image_weight(memoryview(b"123")) == 3
    assert image_weight(path) == image_weight(str(path)) == 5
    assert (
        image_weight(Image.new("RGB", (4, 5))) == image_weight(np.zeros((4, 5, 3), np.uint8)) == 60
    )
    assert image_weight("missing") == image_weight("a\0b") == image_weight(None) == 0


def test_buffers_are_copied_while_they_wait():
    frame = np.zeros((2, 2), np.uint8)
    held = snapshot(frame)
    frame[:] = 255
    assert held.max() == 0
    assert "PIL.Image" in sys.modules
