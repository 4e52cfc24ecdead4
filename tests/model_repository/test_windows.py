"""A long text in windows: every token in one of them, cut where a reader would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from tritonclip_export.bundle import Bundle
from tritonclip_export.samples import sample_texts
from tritonclip_export.served.code import text_windows

Windows = Callable[[str], list[list[int]]]

LONG = [
    *sample_texts()[-3:],
    "word " * 300,
    "x" * 3000,
    "😀" * 200,
    "猫がマットの上に座っている。" * 20,
    "One sentence. Another, with a comma; and 3.14 in it! " * 12,
]


@pytest.fixture(params=["demo", "siglip", "resnet"])
def served(request: pytest.FixtureRequest, bundle: Callable[[str], Bundle]) -> Bundle:
    return bundle(request.param)


@pytest.fixture
def tokenizer(served: Bundle) -> Tokenizer:
    """The tokenizer of the bundle, not truncating."""
    whole = Tokenizer.from_file(str(served.file(served.info.text.tokenizer)))
    whole.no_truncation()
    return whole


@pytest.fixture
def windows(served: Bundle) -> Windows:
    return text_windows(served.info.text, served.path)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_windows_hold_every_token_once_and_in_order(
    text: str, windows: Windows, tokenizer: Tokenizer, served: Bundle
) -> None:
    from tritonclip_export.served.sources import load

    cleaned = load("text_tokenize/1/tokens.py").clean(text, served.info.text.cleaning)
    encoding = tokenizer.encode(cleaned)
    special = encoding.special_tokens_mask
    begin, end = special.index(0), special[::-1].index(0)

    found = windows(text)

    assert all(len(row) <= served.info.text.context_length for row in found)
    assert all(row[:begin] == encoding.ids[:begin] for row in found)
    assert all(row[len(row) - end :] == encoding.ids[len(special) - end :] for row in found)
    joined = [id for row in found for id in row[begin : len(row) - end]]
    assert joined == encoding.ids[begin : len(special) - end]


@pytest.mark.parametrize("text", ["", "a cat", "two. sentences."])
def test_a_text_that_fits_is_one_window(text: str, windows: Windows, served: Bundle) -> None:
    from tritonclip_export.served.code import text_transform

    transform = text_transform(served.info.text, served.path)
    assert windows(text) == transform.encode([text])


def test_windows_end_where_sentences_do(bundle: Callable[[str], Bundle]) -> None:
    demo = bundle("demo")  # a context of 32 tokens
    windows = text_windows(demo.info.text, demo.path)
    tokenizer = Tokenizer.from_file(str(demo.file("tokenizer.json")))
    sentence = "a picture of a small red rocket that flies to the moon and back, far from the town."

    rows = windows(f"{sentence} {sentence}\n{sentence}")

    assert rows == [tokenizer.encode(sentence).ids] * 3


def test_without_punctuation_words_stay_whole(bundle: Callable[[str], Bundle]) -> None:
    demo = bundle("demo")
    windows = text_windows(demo.info.text, demo.path)
    tokenizer = Tokenizer.from_file(str(demo.file("tokenizer.json")))

    rows = windows("hippopotamuses " * 40)

    word = tokenizer.encode("hippopotamuses").ids[1:-1]
    assert len(rows) > 1
    assert all(row[1:-1] == word * (len(row[1:-1]) // len(word)) for row in rows)
