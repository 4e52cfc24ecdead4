import struct
import weakref
from itertools import count, islice

import numpy as np
import pytest

from tritonclip import batch as batch_module
from tritonclip.batch import IMAGES, TEXTS, Batch, Packer, bad_items, one_or_many
from tritonclip.errors import ImageError, InvalidArgument, InvalidInput, ServerError, TextError
from tritonclip.wire import InferRequest


def encoded(modality, sources, info, *, start=0, strict=False):
    batch = Batch(modality, info, list(sources), start=start, strict=strict)
    batch.encode()
    return batch


def vectors(*values):
    return np.array([[v] * 4 for v in values], dtype=np.float32)


def test_packing_keeps_every_item_in_order_within_bounds(model_info):
    packed = Packer(TEXTS, model_info, 3, strict=True).pack(str(i) for i in range(8))
    sent = []
    for batch in packed:
        batch.encode()
        sent.append([item.decode() for item in batch.request().items])
    assert sent == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]


def test_packing_reads_its_input_only_as_it_goes(model_info):
    numbers = count()
    packed = Packer(TEXTS, model_info, 3, strict=True).pack(str(i) for i in numbers)
    list(islice(packed, 2))
    assert next(numbers) == 6


def test_heavy_items_share_no_request(monkeypatch, model_info):
    monkeypatch.setattr(batch_module, "MAX_REQUEST_BYTES", 10)
    sizes = [4, 6, 1, 99, 5, 5]
    packed = Packer(IMAGES, model_info, 16, strict=True).pack(b"x" * size for size in sizes)
    sent = []
    for batch in packed:
        batch.encode()
        sent.append([len(item) for item in batch.request().items])
    assert sent == [[4, 6], [1], [99], [5, 5]]


def test_pixels_are_let_go_once_they_are_encoded(model_info):
    pixels = np.zeros((4, 4, 3), np.uint8)
    held = weakref.ref(pixels)
    batch = Batch(IMAGES, model_info, [pixels])
    del pixels

    batch.encode()

    assert held() is None


def test_a_buffer_that_is_used_again_is_not_embedded_twice(model_info):
    def frames():
        buffer = bytearray(1)
        for i in range(3):
            buffer[0] = i
            yield buffer

    (batch,) = Packer(IMAGES, model_info, 3, strict=True).pack(frames())
    batch.encode()
    assert batch.request().items == [b"\0", b"\1", b"\2"]


def test_items_are_serialised_after_their_lengths():
    tensor = b"".join(InferRequest("demo_text", "TEXT", [b"a", b"", b"bcd"]).serialized())
    assert tensor == b"\1\0\0\0a" + b"\0\0\0\0" + struct.pack("<I", 3) + b"bcd"


def test_an_answer_fills_the_rows(model_info):
    batch = encoded(TEXTS, ["a", "b"], model_info)
    assert batch.request().model == "demo_text"
    batch.accept(vectors(1, 2))
    assert batch.request() is None
    assert batch.rows.tolist() == vectors(1, 2).tolist()


def test_an_answer_of_another_shape_is_a_server_error(model_info):
    batch = encoded(TEXTS, ["a", "b"], model_info)
    with pytest.raises(ServerError, match=r"demo_text.*\[1, 4\], not \[2, 4\]"):
        batch.accept(vectors(1))


def test_items_named_as_bad_are_left_out_and_the_others_sent_again(model_info):
    batch = encoded(IMAGES, [b"a", "missing", b"c", b"d"], model_info, start=10)
    # Positions are those within the request, from which the missing file is absent.
    batch.reject(InvalidInput("in ensemble 'x', image 1: not an image"))
    assert batch.request().items == [b"a", b"d"]
    batch.accept(vectors(1, 4))
    assert np.isnan(batch.rows[1:3]).all()
    assert batch.rows[[0, 3]].tolist() == vectors(1, 4).tolist()

    reported = []
    batch.report(reported.append)
    assert [(error.index, error.reason) for error in reported] == [
        (11, "no such file"),
        (12, "not an image"),
    ]
    assert reported[0].source == "missing"
    assert all(isinstance(error, ImageError) for error in reported)


def test_a_batch_of_bad_items_needs_no_request(model_info):
    batch = encoded(TEXTS, [1, b"bytes"], model_info)
    assert batch.request() is None
    assert np.isnan(batch.rows).all()


def test_a_strict_batch_raises_its_first_bad_item(model_info):
    batch = encoded(TEXTS, ["a", "b", "c", 3, "d"], model_info, strict=True)
    assert batch.request().items == [b"a", b"b", b"c"]
    with pytest.raises(TextError, match=r"text 1 \('b'\): bad"):
        batch.reject(InvalidInput("text 2: worse\ntext 1: bad"))

    batch = encoded(TEXTS, ["fine", 1, 2], model_info, start=5, strict=True)
    batch.request()
    batch.accept(vectors(1))
    with pytest.raises(TextError, match="text 6: is a int"):
        batch.request()


@pytest.mark.parametrize("message", ["no idea", "image 7: not one of ours", "text 0: other noun"])
def test_a_refusal_that_names_no_item_is_raised_as_a_whole(model_info, message):
    batch = encoded(IMAGES, [b"a"], model_info)
    with pytest.raises(InvalidInput, match=f"refused a request: {message}") as caught:
        batch.reject(InvalidInput(message))
    assert caught.value.index is None


def test_a_refusal_is_read_line_by_line():
    message = "[request id: 7] in ensemble 'x', image 3: cannot: be read\nimage 0: empty"
    assert bad_items(message, "image") == [(0, "empty"), (3, "cannot: be read")]
    assert bad_items(message, "text") == []


def test_lone_surrogates_are_refused_by_position(model_info):
    with pytest.raises(TextError, match="UTF-8: surrogates not allowed at character 1"):
        TEXTS.encode("a\ud800", 0, model_info)


def test_what_cannot_be_iterated_is_refused():
    with pytest.raises(InvalidArgument, match="got 3"):
        one_or_many(3, single=False)
    assert one_or_many("a", single=True) == ["a"]
