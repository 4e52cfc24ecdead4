r"""A regular expression's character classes, spelled out as ranges of code points.

`\p{L}` is what the Unicode tables of the engine at hand make of it: U+187F8 is a letter for
Python's `regex` and none for the Rust tokenizer, whose tables are older. So a tokenizer that is
served names code points, as the checkpoint's own tokenizer sees them where it is exported, and
means the same in every version of the library.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

Find: TypeAlias = Callable[[str], Iterable[str]]
"""A pattern that matches one character -> all characters that it matches in the engine at hand."""

# Python's strings hold surrogates, UTF-8 does not.
EVERY_CHARACTER = "".join(map(chr, chain(range(0xD800), range(0xE000, sys.maxunicode + 1))))

_CLASS = r"\\[pP]\{[^}]+\}|\\[sSdDwW]"
_PARTS = re.compile(rf"(?P<set>\[\^?(?:\\.|[^\]\\])+\])|(?P<class>{_CLASS})|\\.|.", re.DOTALL)

# What the Rust library's `ByteLevel` splits by unless told not to; GPT-2's.
_BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def frozen(tokenizer: Any) -> Any:
    """A `tokenizers.Tokenizer` with its classes as they are in the library at hand.

    Those of `BertNormalizer`, `BertPreTokenizer` and `Lowercase` are no expressions, and stay the
    library's.
    """
    from tokenizers import Tokenizer

    parts = json.loads(tokenizer.to_str())
    for name in ("normalizer", "pre_tokenizer"):
        parts[name] = _frozen(parts[name])
    return Tokenizer.from_str(json.dumps(parts))


def _frozen(part: Any) -> Any:
    if isinstance(part, list):
        return [_frozen(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.keys() == {"Regex"}:
        return {"Regex": spelled_out(part["Regex"], in_tokenizers)}
    if part.get("type") == "ByteLevel" and part["use_regex"] and not part["add_prefix_space"]:
        pattern = {"Regex": spelled_out(_BYTE_LEVEL, in_tokenizers)}
        split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, {**part, "use_regex": False}]}
    return {key: _frozen(value) for key, value in part.items()}


def spelled_out(pattern: str, find: Find, *, ignore_case: bool = False) -> str:
    """`pattern` without classes, for an engine that is told no flags.

    Args:
        pattern: a regular expression; sets in brackets are not nested.
        find: what one of its parts matches.
        ignore_case: whether its letters stand for more than themselves, too.
    """

    def part(match: re.Match[str]) -> str:
        text = match[0]
        has_class = match["class"] or (match["set"] and re.search(_CLASS, text))
        if has_class or (ignore_case and text.isalpha()):
            return _set(text, find)
        return text

    return _PARTS.sub(part, pattern)


@cache
def _set(part: str, find: Find) -> str:
    return f"[{_ranges(map(ord, find(part)))}]"


@cache
def in_regex(part: str) -> frozenset[str]:
    """What `part` matches in Python's `regex`, ignoring case."""
    import regex

    return frozenset(regex.findall(part, EVERY_CHARACTER, regex.IGNORECASE))


@cache
def in_tokenizers(part: str) -> frozenset[str]:
    """What `part` matches in the Rust tokenizers' engine."""
    from tokenizers import Regex, normalizers

    others = normalizers.Replace(Regex(part), "").normalize_str(EVERY_CHARACTER)
    return frozenset(EVERY_CHARACTER).difference(others)


def _ranges(codes: Iterable[int]) -> str:
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges)
