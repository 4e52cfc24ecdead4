"""The server's tokenizing gives open_clip's own ids."""

import random
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer

from tritonclip_export.open_clip_tokenizer import convert
from tritonclip_export.samples import sample_texts
from tritonclip_export.sources import text_transform
from tritonclip_export.tokenizer import bucket_lengths

CORPUS = [
    *sample_texts(),
    *(f"{a} {b}" for a in ("&lt;", "&#x1F600;", "&amp;eacute;") for b in ("café", "cafe\u0301")),
    "line one\r\nline two\u2028line three\x1fsep\x0bvertical",
    "\u200f\u202eright to left marks\u202c",
    "'s 't 're 've 'm 'll 'd 'S 'LL \u2019s '\u017f \u212a",
    "x" * 5000,
    "😀" * 200,
    "a" + "\u0301" * 50,
    "１２３ ⅷ ² ½ ٣",
    "\x00\x01control\x7f",
    "<start_of_text>" * 5,
    "!<end_of_text>?<start_of_text>!",
    "<|endoftext|> <|startoftext|>",
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[object, object]]:
    """A `SimpleTokenizer` with options, and its conversion."""

    def make(**options: object) -> tuple[object, object]:
        tokenizer = SimpleTokenizer(**options)
        folder = tmp_path_factory.mktemp("tokenizer")
        spec = convert(tokenizer).write(folder, dynamic_length=True)
        return tokenizer, text_transform(spec, folder)

    return make


def padded(transform: object, texts: list[str], length: int) -> np.ndarray:
    rows = [ids + [transform.pad_id] * (length - len(ids)) for ids in transform.encode(texts)]
    return np.array(rows)


@pytest.mark.parametrize("cleaning", ["lower", "whitespace", "canonicalize"])
@pytest.mark.parametrize("context_length", [16, 77])
def test_clip_ids_equal_open_clips(
    clip: Callable[..., tuple[object, object]], cleaning: str, context_length: int
) -> None:
    tokenizer, transform = clip(clean=cleaning, context_length=context_length)

    ids = padded(transform, CORPUS, context_length)

    np.testing.assert_array_equal(ids, tokenizer(CORPUS).numpy())


def test_additional_special_tokens_keep_their_ids(
    clip: Callable[..., tuple[object, object]],
) -> None:
    tokenizer, transform = clip(additional_special_tokens=["<sketch>"])
    texts = ["a <sketch> of a cat", "?<sketch>", "sketch"]

    np.testing.assert_array_equal(padded(transform, texts, 77), tokenizer(texts).numpy())


@pytest.mark.slow
def test_every_character_gets_open_clips_ids(clip: Callable[..., tuple[object, object]]) -> None:
    """Each assigned code point of Unicode alone, and after a letter, a digit and a mark."""
    tokenizer, transform = clip(clean="whitespace")
    # 60 characters a text, apart, so that all fit into far fewer calls; none is cut off.
    tokenizer.context_length = 2000
    transform.tokenizer.no_truncation()
    characters = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
    ]
    random.Random(0).shuffle(characters)
    texts = [
        " ".join(f"{c} a{c} 1{c} !{c}" for c in characters[start : start + 60])
        for start in range(0, len(characters), 600)  # a tenth of them: some 30,000 cases
    ]
    texts.append("\u0345 a\u0345 \u0345b")

    for text, ids in zip(texts, transform.encode(texts), strict=True):
        assert [*tokenizer.encode(text)] == ids[1:-1]


@pytest.mark.parametrize("name", ["demo", "siglip"])
def test_ids_of_a_checkpoint_equal_its_own_tokenizers(
    name: str, dual_encoder: Callable[[str], object], tmp_path: Path
) -> None:
    checkpoint = dual_encoder(name)
    spec = checkpoint.served_tokenizer().write(tmp_path, dynamic_length=False)
    transform = text_transform(spec, tmp_path)

    np.testing.assert_array_equal(
        padded(transform, CORPUS, spec.context_length), checkpoint.token_ids(CORPUS)
    )


def test_texts_are_padded_to_the_shortest_bucket_that_holds_them(
    clip: Callable[..., tuple[object, object]],
) -> None:
    _, transform = clip()
    short, long, longest = (" ".join(["cat"] * n) for n in (2, 10, 300))

    assert transform.pad(transform.encode([short])).shape == (1, 8)
    assert transform.pad(transform.encode([short, long])).shape == (2, 16)
    assert transform.pad(transform.encode([longest])).shape == (1, 77)
    assert transform.pad(transform.encode([""])).dtype == np.int32


def test_a_tower_that_attends_to_padding_always_gets_its_full_length(
    dual_encoder: Callable[[str], object], tmp_path: Path
) -> None:
    spec = dual_encoder("siglip").served_tokenizer().write(tmp_path, dynamic_length=False)

    assert bucket_lengths(spec) == [20]
    transform = text_transform(spec, tmp_path)
    assert transform.pad(transform.encode(["cat"])).shape == (1, 20)
