"""Text -> TOKEN_IDS, the same ids as the checkpoint's own tokenizer.

Named cleaning rules run first, `tokenizer.json` after them. The rules and their order are data of
the bundle; what most of them do is open_clip's `basic_clean` and `canonicalize_text`, the latter
after big_vision's `prompt_engineering.py`.
"""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
from tokenizers import Encoding, Tokenizer

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SIGLIP_SPECIAL = re.compile("(</s>|<unk>)")


def _siglip(text: str) -> str:
    """What transformers' `SiglipTokenizer` does in Python, before and around SentencePiece.

    Its special tokens keep their meaning when typed; what is between them loses capitals,
    punctuation and doubled white space. An end token that ends the text is not doubled.
    """
    pieces = _SIGLIP_SPECIAL.split(text.replace("\u2581", " "))
    pieces[::2] = [" ".join(p.lower().translate(_PUNCTUATION).split()) for p in pieces[::2]]
    if pieces[-2:] == ["</s>", ""]:
        del pieces[-2:]
    return "".join(pieces)


def _fix_encoding(text: str) -> str:
    """What `ftfy.fix_text` does, which takes as long as tokenizing, and here mostly has nothing to.

    Printable ASCII it leaves as it is, unless an entity of HTML is in it.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    fixed: str = ftfy.fix_text(text)
    return fixed


RULES: dict[str, Callable[[str], str]] = {
    "fix_encoding": _fix_encoding,
    # Twice, because captions scraped from the web are often escaped twice.
    "unescape_html": lambda text: html.unescape(html.unescape(text)),
    # An underscore separates words; the rest of ASCII punctuation just goes.
    "remove_punctuation": lambda text: text.replace("_", " ").translate(_PUNCTUATION),
    "lowercase": str.lower,
    "collapse_whitespace": lambda text: " ".join(text.split()),
    "siglip": _siglip,
}


def clean(text: str, rules: Sequence[str]) -> str:
    """Apply `rules`, names from `RULES`, in order."""
    for rule in rules:
        text = RULES[rule](text)
    return text


# What takes some 10 ms to clean and more; captions have a tenth.
LONG_CHARACTERS = 4096


def are_long(texts: Iterable[str]) -> bool:
    """Whether other texts should not wait for these."""
    return any(len(text) > LONG_CHARACTERS for text in texts)


def length(encoding: Encoding) -> int:
    """How many tokens a whole text has, special ones included, also where it was truncated."""
    special = sum(encoding.special_tokens_mask)
    return len(encoding.ids) + sum(len(rest.ids) - special for rest in encoding.overflowing)


class BadTextError(ValueError):
    """Bytes are not a text that this model accepts; the message says why."""


@dataclass(frozen=True)
class TextTransform:
    """A tokenizer, its cleaning rules, and how ids are padded."""

    tokenizer: Tokenizer
    cleaning: tuple[str, ...]
    pad_id: int
    last_id: int | None
    """An id at the last place of every row, behind the padding."""
    replaced_ids: Mapping[int, int]
    lengths: tuple[int, ...]
    """Lengths to pad to, ascending; the last is the context length. One length means a tower that
    attends to its padding; several mean a causal tower, for which a short text costs less; none,
    that its encoder takes any length."""
    max_bytes: int
    """Of one text, in UTF-8."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], tokenizer: Path) -> TextTransform:
        """Read the `parameters` of a parsed `config.pbtxt` and the tokenizer file beside it."""

        def value(key: str) -> Any:
            return json.loads(parameters[key]["string_value"])

        return cls(
            tokenizer=Tokenizer.from_file(str(tokenizer)),
            cleaning=tuple(value("cleaning")),
            pad_id=int(value("pad_id")),
            last_id=value("last_id"),
            replaced_ids={int(id): other for id, other in value("replaced_ids").items()},
            lengths=tuple(value("lengths")),
            max_bytes=int(value("max_bytes")),
        )

    def texts(self, encoded: Iterable[bytes]) -> list[str]:
        """The texts of one request.

        Raises:
            BadTextError: a line for each that is over the limit, or not UTF-8.
        """
        texts, bad = [], []
        for i, value in enumerate(encoded):
            try:
                texts.append(self.decode(value))
            except BadTextError as error:
                bad.append(f"text {i}: {error}")
        if bad:
            raise BadTextError("\n".join(bad))
        return texts

    def decode(self, encoded: bytes) -> str:
        """A text as it came in a request.

        Raises:
            BadTextError: it is over the limit, or not UTF-8.
        """
        if len(encoded) > self.max_bytes:
            raise BadTextError(f"{len(encoded)} bytes is over the limit of {self.max_bytes}")
        try:
            return encoded.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadTextError(f"not UTF-8: {error}") from error

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text with its special tokens, truncated to the context length, unpadded."""
        return [self.ids(encoding) for encoding in self.tokenize(texts)]

    def tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        """What the tokenizer makes of each cleaned text."""
        cleaned = [clean(text, self.cleaning) for text in texts]
        encodings: list[Encoding] = self.tokenizer.encode_batch(cleaned)
        return encodings

    def ids(self, encoding: Encoding) -> list[int]:
        """The ids as the tower knows them."""
        ids: list[int] = encoding.ids
        return [self.replaced_ids.get(id, id) for id in ids] if self.replaced_ids else ids

    def pad(
        self, ids: Sequence[Sequence[int]], length: int | None = None
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """TOKEN_IDS of texts that travel together: int32, shape [texts, length].

        Unless given, the length is the shortest of `lengths` that holds the longest text, or that
        text's own.
        """
        if length is None:
            longest = max(len(row) for row in ids)
            length = next((length for length in self.lengths if length >= longest), longest)
        padded = np.full((len(ids), length), self.pad_id, dtype=np.int32)
        for row, values in zip(padded, ids, strict=True):
            row[: len(values)] = values
        if self.last_id is not None:
            padded[:, -1] = self.last_id
        return padded
