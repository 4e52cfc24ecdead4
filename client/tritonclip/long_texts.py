"""Texts beyond the context length, in windows of their tokens.

The server splits a text, because only it knows the tokens. A text that fits is one window, and its
vector is the one that it has anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from tritonclip.batch import TEXTS, Modality
from tritonclip.errors import InvalidArgument
from tritonclip.info import WINDOWS_SUFFIX
from tritonclip.types import FloatArray

Long: TypeAlias = Literal["cut", "mean"]
"""What becomes of a long text: cut off where the context ends, or the mean of its windows."""


def mean_of_windows(answer: FloatArray) -> FloatArray:
    """Unit vectors [texts, dim]: each the mean of its windows' vectors, re-normalised.

    Args:
        answer: unit vectors [texts, windows, dim]; rows beyond a text's last window are zero.
    """
    total = answer.sum(axis=1)
    mean = total / np.linalg.norm(total, axis=1, keepdims=True)
    single = ~answer[:, 1:].any(axis=(1, 2))
    return np.where(single[:, np.newaxis], answer[:, 0], mean)


def each_window(row: FloatArray) -> FloatArray:
    """The vectors [windows, dim] of one text, without the zeros behind its last window."""
    windows = np.atleast_2d(row)
    return np.asarray(windows[windows.any(axis=1)])


WINDOWS = replace(TEXTS, suffix=WINDOWS_SUFFIX, axes=3)
_MEANS = replace(WINDOWS, fold=mean_of_windows)


def text_modality(long: Long) -> Modality:
    """How texts are embedded.

    Raises:
        InvalidArgument: `long` is neither.
    """
    if long == "cut":
        return TEXTS
    if long == "mean":
        return _MEANS
    raise InvalidArgument(f"long is 'cut' or 'mean', not {long!r}; see also embed_windows")
