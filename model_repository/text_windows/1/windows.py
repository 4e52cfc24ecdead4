"""A text's tokens in windows that each fit the context, so that none is cut off.

A window ends where a sentence does, or else a clause, or else a word, if such a place lies in its
second half; otherwise it is filled to the last token. Each gets the special tokens of a whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SENTENCE_ENDS = tuple(".!?…。！？।؟")  # noqa: RUF001
CLAUSE_ENDS = tuple(",;:，；：、،؛")  # noqa: RUF001
# Scripts that put no space between sentences have punctuation of their own.
SPACELESS = "。！？，；：、"  # noqa: RUF001


def windows(text: str, tokenizer: Any, max_length: int) -> list[list[int]]:
    """Token ids of each window, special tokens included.

    Args:
        text: a cleaned text.
        tokenizer: of the `tokenizers` library, not truncating.
        max_length: of a window, special tokens included.
    """
    encoding = tokenizer.encode(text)
    ids = encoding.ids
    if len(ids) <= max_length:
        return [ids]
    special = encoding.special_tokens_mask
    begin = special.index(0)
    end = len(ids) - special[::-1].index(0)
    size = max_length - begin - (len(ids) - end)
    cuts = [begin]
    while end - cuts[-1] > size:
        cuts.append(_cut(text, encoding.offsets, cuts[-1] + (size + 1) // 2, cuts[-1] + size))
    return [
        [*ids[:begin], *ids[start:stop], *ids[end:]]
        for start, stop in zip(cuts, [*cuts[1:], end], strict=True)
    ]


def _cut(text: str, offsets: Sequence[tuple[int, int]], first: int, last: int) -> int:
    """The token, from `first` to `last`, to begin the next window with."""
    words = [i for i in range(last, first - 1, -1) if _begins_word(text, offsets, i)]
    for ends in (SENTENCE_ENDS, CLAUSE_ENDS, ("",)):
        for i in words:
            # A few characters do: a token does not end in much white space.
            end = offsets[i - 1][1]
            if text[max(end - 8, 0) : end].rstrip().endswith(ends):
                return i
    return last


def _begins_word(text: str, offsets: Sequence[tuple[int, int]], i: int) -> bool:
    end, start = offsets[i - 1][1], offsets[i][0]
    # Some tokenizers count the space as part of the word, some do not.
    between = text[max(end - 1, 0) : start + 1]
    return any(map(str.isspace, between)) or (0 < end <= start and text[end - 1] in SPACELESS)
