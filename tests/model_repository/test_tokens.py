"""The server's tokenizing gives the checkpoint's own ids."""

import functools
import json
import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ftfy
import numpy as np
import pytest
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from transformers import AutoTokenizer

from stand_ins.vocabularies import CORPUS as SCRIPTS
from stand_ins.vocabularies import KINDS, write_vocabulary
from tritonclip_export.bundle import bucket_lengths
from tritonclip_export.checkpoint.character_classes import EVERY_CHARACTER
from tritonclip_export.checkpoint.open_clip.tokenizer import convert, set_language
from tritonclip_export.checkpoint.tokenizer import from_transformers
from tritonclip_export.errors import CheckpointError
from tritonclip_export.samples import sample_texts
from tritonclip_export.served.code import text_transform
from tritonclip_export.served.sources import load

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

# By this Python's tables; young code points are among all of them only.
ASSIGNED = "".join(c for c in EVERY_CHARACTER if unicodedata.category(c) not in ("Cn", "Co"))
# Latin to Kana come first.
COMMON = 0x3000


def joined(characters: str, form: str) -> list[str]:
    """Texts of many `characters`, each in `form`."""
    return [
        "".join(map(form.format, characters[start : start + 2000]))
        for start in range(0, len(characters), 2000)
    ]


def test_what_is_fixed_of_plain_ascii_is_what_ftfy_fixes() -> None:
    """Most texts are spared ftfy, which must not show."""
    fix, generator = load("text_tokenize/1/tokens.py").RULES["fix_encoding"], random.Random(5)
    characters = [*map(chr, range(128)), "&amp;", "&lt;", "&#39;", "\r\n", "\x1b[1m", "é", "\ufb01"]
    pairs = [a + b for a in characters for b in characters]
    longer = ["".join(generator.choices(characters[32:127], k=40)) for _ in range(2000)]

    for text in [*CORPUS, *pairs, *longer]:
        assert fix(text) == ftfy.fix_text(text)


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


def test_every_character_gets_open_clips_ids_once_cleaned(
    clip: Callable[..., tuple[object, object]],
) -> None:
    """Each of a tenth of the assigned code points alone, and after a letter, a digit and a mark."""
    tokenizer, transform = clip(clean="whitespace")
    transform.tokenizer.no_truncation()
    characters = list(ASSIGNED)
    random.Random(0).shuffle(characters)
    texts = [
        " ".join(f"{c} a{c} 1{c} !{c}" for c in characters[start : start + 60])
        for start in range(0, len(characters), 600)
    ]
    texts.append("\u0345 a\u0345 \u0345b")

    for text, ids in zip(texts, transform.encode(texts), strict=True):
        assert [*tokenizer.encode(text)] == ids[1:-1]


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_every_code_point_of_unicode_gets_open_clips_ids(
    every: int, clip: Callable[..., tuple[object, object]]
) -> None:
    """Between a letter and a mark; the assigned ones alone and between digits, too.

    The gate takes each tenth of those past the scripts that most texts are written in.
    """
    tokenizer, transform = clip(clean="whitespace")
    transform.tokenizer.no_truncation()
    # What cleaning makes of a text is the same function in both.
    tokenizer.clean_fn = str
    transform = replace(transform, cleaning=())
    texts = [
        *joined(EVERY_CHARACTER[:COMMON] + EVERY_CHARACTER[COMMON::every], "a{0}! "),
        *joined(ASSIGNED[:COMMON] + ASSIGNED[COMMON::every], "{0} 1{0}2 "),
        *joined(
            EVERY_CHARACTER[:COMMON], "'{0} '{0}{0} '{0}l 'r{0} <end{0}of_text> <{0}art_of_text>"
        ),
    ]

    for text, ids in zip(texts, transform.encode(texts), strict=True):
        if tokenizer.encode(text) != ids[1:-1]:
            differing = [c for c in text if tokenizer.encode(f"a{c}!") != encoded(transform, c)]
            raise AssertionError([f"U+{ord(c):X}" for c in dict.fromkeys(differing)])


def encoded(transform: object, character: str) -> list[int]:
    return transform.encode([f"a{character}!"])[0][1:-1]


def test_a_tokenizer_names_code_points_and_no_classes_of_some_unicode_version(
    clip: Callable[..., tuple[object, object]],
) -> None:
    _, transform = clip()
    words, _ = json.loads(transform.tokenizer.to_str())["pre_tokenizer"]["pretokenizers"]

    assert not re.search(r"\\[pPsSdDwW]|\(\?", words["pattern"]["Regex"])


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


# Kind of vocabulary -> how open_clip's architectures of that kind use it.
HUGGING_FACE = {
    "mt5": {"clean": "canonicalize"},  # SigLIP, its i18n models, and worldwide L/14
    "gemma": {"clean": "canonicalize"},  # SigLIP 2
    "bert": {"strip_sep_token": True},  # CLIPA
    "xlm_roberta": {},  # XLM-R, MetaCLIP 2 worldwide (XLM-V)
    "roberta": {},
    "nllb": {},
    "siglip2": {"clean": "lower"},
}
TYPED_BY_HAND = [
    "[SEP] [PAD] b [CLS] c [SEP]",
    "<s> </s> <pad> <unk> <mask>",
    "cat </s>",
    "<eos> <bos> <start_of_turn>",
    "eng_Latn deu_Latn",
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small tokenizer of a kind, trained once."""
    home = tmp_path_factory.mktemp("vocabularies")

    def folder(kind: str) -> Path:
        if not (home / kind).exists():
            write_vocabulary(kind, home / kind)
        return home / kind

    return folder


def assert_equal_ids(tokenizer: HFTokenizer, folder: Path, texts: list[str]) -> None:
    spec = convert(tokenizer).write(folder, dynamic_length=False)
    transform = text_transform(spec, folder)
    ours = transform.pad(transform.encode(texts))
    for text, row, expected in zip(texts, ours, tokenizer(texts).numpy(), strict=True):
        assert row.tolist() == expected.tolist(), text


@pytest.mark.parametrize("kind", HUGGING_FACE)
@pytest.mark.parametrize("context_length", [12, 64])
def test_ids_of_a_hugging_face_tokenizer_equal_open_clips(
    kind: str, context_length: int, vocabulary: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = HFTokenizer(
        str(vocabulary(kind)), context_length=context_length, **HUGGING_FACE[kind]
    )
    assert_equal_ids(tokenizer, tmp_path, [*CORPUS, *SCRIPTS, *TYPED_BY_HAND])


@pytest.mark.parametrize("language", ["deu_Latn", "zho_Hans"])
def test_a_language_code_stands_in_front(
    language: str, vocabulary: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = HFTokenizer(str(vocabulary("nllb")), context_length=16)
    set_language(tokenizer, language)
    code = tokenizer.tokenizer.convert_tokens_to_ids(language)
    assert tokenizer(["a cat"])[0, 0] == code != tokenizer.tokenizer.unk_token_id
    assert_equal_ids(tokenizer, tmp_path, SCRIPTS)


def test_a_language_that_the_tokenizer_lacks_is_refused(
    vocabulary: Callable[[str], Path],
) -> None:
    nllb, bert = (
        HFTokenizer(str(vocabulary(kind)), context_length=16) for kind in ("nllb", "bert")
    )
    with pytest.raises(CheckpointError, match="Did you mean deu_Latn"):
        set_language(nllb, "de_Latn")
    with pytest.raises(CheckpointError, match="no language code"):
        set_language(bert, "deu_Latn")


def test_a_token_behind_the_padding_is_kept_there(
    vocabulary: Callable[[str], Path], tmp_path: Path
) -> None:
    """open_clip's mode `clips`: start, text, end, padding, and the class token at the very end."""
    tokenizer = HFTokenizer(str(vocabulary("bert")), context_length=16, tokenizer_mode="clips")
    tokenizer.tokenizer.add_special_tokens({"bos_token": "[CLS]", "eos_token": "[SEP]"})
    assert_equal_ids(tokenizer, tmp_path, [*SCRIPTS, *TYPED_BY_HAND])


def test_siglips_tokenizer_of_transformers_keeps_special_tokens_that_are_typed(
    vocabulary: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vocabulary("siglip"))
    spec = from_transformers(tokenizer, (), 16).write(tmp_path, dynamic_length=False)
    transform = text_transform(spec, tmp_path)
    texts = ["a</s>b", "</s>", "x </s>", "</s></s>", " </s> Cat </s>", "a <unk>_</s>b.", "\u2581a"]

    for text in [*texts, *SCRIPTS]:
        expected = tokenizer(text, truncation=True, max_length=16)["input_ids"]
        assert transform.encode([text])[0] == expected, text


@functools.cache
def most_characters() -> str:
    """The assigned code points, and one in a hundred of the others; of ideographs, too."""
    return "".join(
        c
        for i, c in enumerate(EVERY_CHARACTER)
        if i % 100 == 0 or unicodedata.category(c) not in ("Cn", "Co", "Lo")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_gets_the_ids_of_a_tokenizer_of_transformers(
    kind: str, vocabulary: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vocabulary(kind), model_max_length=10**6)
    spec = from_transformers(tokenizer, (), 16).write(tmp_path, dynamic_length=False)
    transform = text_transform(spec, tmp_path)
    transform.tokenizer.no_truncation()
    texts = joined(most_characters(), "{0} a{0}! 1{0}2 ")

    assert transform.encode(texts) == tokenizer(texts)["input_ids"]


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
