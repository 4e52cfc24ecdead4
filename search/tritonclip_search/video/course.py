"""How well texts fit a video in the course of its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tritonclip.types import FloatArray
from tritonclip_search.records import Record, matrix


@dataclass(frozen=True, eq=False)
class Course:
    """Scores of some texts over a video."""

    path: str
    texts: tuple[str, ...]
    starts: FloatArray
    """Of the stretches in which what is shown is alike, in seconds, growing; [stretches]."""
    ends: FloatArray
    scores: FloatArray
    """Cosines [texts, stretches]."""


def course(frames: Sequence[Record], texts: Sequence[str], vectors: FloatArray) -> Course:
    """The course of `texts` over the frames of one video.

    Args:
        frames: their records with vectors, at least one.
        texts: what was asked.
        vectors: of the texts, unit length [texts, dim].
    """
    ordered = sorted(frames, key=lambda record: record.start)
    return Course(
        ordered[0].path,
        tuple(texts),
        np.array([record.start for record in ordered], np.float32),
        np.array([record.end for record in ordered], np.float32),
        vectors @ matrix(ordered).T,
    )
