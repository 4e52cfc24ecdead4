"""What was found: records with scores, near-duplicates folded where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tritonclip import Client
from tritonclip.info import ModelInfo
from tritonclip.scoring import probabilities
from tritonclip.types import FloatArray
from tritonclip_search.groups import find_threshold, group
from tritonclip_search.records import Kind, Record, matrix

# Hits that are altered to find out how near the same picture is; see `groups`.
_ALTERED = 8


@dataclass(frozen=True)
class Hit:
    """A picture, or a moment of a video, that was found."""

    record: Record
    """Of the picture; of a moment, that of the frame that shows it best."""
    score: float
    """Cosine of its vector with the query's, in FP32 whatever the store."""
    probability: float | None = None
    """That the text describes it; only of models trained for that (sigmoid), and of one text."""
    near_duplicates: tuple[Hit, ...] = ()
    """Further hits that are the same picture, where they were folded."""
    start: float = 0.0
    """Seconds from the beginning of the video; 0 for a picture."""
    end: float = 0.0

    @property
    def is_video(self) -> bool:
        """Whether it is of a video."""
        return self.record.kind is not Kind.IMAGE

    @property
    def time(self) -> float:
        """Of the frame that shows it best, in seconds from the beginning of the video."""
        is_frame = self.record.kind is Kind.FRAME
        return self.record.start if is_frame else (self.start + self.end) / 2

    @property
    def path(self) -> str:
        """Where it lies."""
        return self.record.path


def scored(
    found: Sequence[Record], vector: FloatArray, info: ModelInfo, *, is_one_text: bool
) -> list[Hit]:
    """Hits by falling cosine with the query's `vector`, in FP32 from the vectors of `found`."""
    if not found:
        return []
    vectors = matrix(found)
    scores = np.einsum("nd,d->n", vectors, vector)
    chances: list[float | None] = [None] * len(found)
    if is_one_text and info.similarity == "sigmoid":
        chances = list(probabilities(vectors, vector[None], info)[:, 0].tolist())
    order = np.argsort(-scores, kind="stable")
    return [
        Hit(found[i], float(scores[i]), chances[i], start=found[i].start, end=found[i].end)
        for i in order
    ]


def folded(hits: Sequence[Hit], client: Client) -> list[Hit]:
    """Hits of which none is the same picture as another; those are in `near_duplicates`."""
    pictures = [hit.record for hit in hits if not hit.is_video]
    threshold = find_threshold(pictures[:_ALTERED], client)
    if threshold is None:
        return list(hits)
    groups = group(matrix([hit.record for hit in hits]), threshold.cosine)
    others = {row for rows in groups for row in rows[1:]}
    same = {rows[0]: tuple(hits[row] for row in rows[1:]) for rows in groups}
    return [
        replace(hit, near_duplicates=same.get(row, ()))
        for row, hit in enumerate(hits)
        if row not in others
    ]
