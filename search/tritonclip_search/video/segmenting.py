"""Segments of a video: shots, found in the embeddings of its samples, without repeated frames.

A cut is where a sample is unlike the one before. A frame that is like the one kept last is not kept
again: that one stands for both, so a camera that looks at a wall takes one vector a minute.

Measured in `benchmarks/studies/video.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tritonclip.types import FloatArray
from tritonclip_search.video.pooling import unit

CUT = 0.85
"""Cosine with the sample before, below which there is a cut."""
SAME = 0.98
"""Cosine with the frame kept last, from which on one is not kept."""
LONGEST = 60.0
"""Seconds after which a segment ends though there is no cut: what is lost where an indexer dies."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """A frame, and the range in which what is shown is like it."""

    start: float
    """The frame's own time, in seconds."""
    end: float
    vector: FloatArray
    """Of the frame; unit length, float32 [dim]."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A range without a cut."""

    start: float
    end: float
    vector: FloatArray
    """The mean of its samples, of unit length again; float32 [dim]."""
    frames: tuple[Stretch, ...]


class Segmenter:
    """Takes samples one by one, and gives each segment as soon as it is over.

    Nothing of a segment that is over influences the next, so that whoever was interrupted can go on
    at its end.
    """

    def __init__(self, *, cut: float = CUT, same: float = SAME) -> None:
        self._cut = cut
        self._same = same
        self._kept: list[tuple[float, FloatArray]] = []
        self._sum: FloatArray | None = None
        self._last: FloatArray | None = None

    def add(self, time: float, vector: FloatArray) -> Segment | None:
        """Take the sample at `time`, later than those before; gives the segment that it ends."""
        over = None
        if self._last is not None:
            is_long = time - self._kept[0][0] >= LONGEST
            if is_long or float(vector @ self._last) < self._cut:
                over = self.finish(time)
        if not self._kept or float(vector @ self._kept[-1][1]) < self._same:
            self._kept.append((time, vector))
        self._sum = vector if self._sum is None else self._sum + vector
        self._last = vector
        return over

    def finish(self, end: float) -> Segment | None:
        """The segment that was not over yet and ends now; None where there are no samples."""
        if self._sum is None:
            return None
        times = [time for time, _ in self._kept]
        ends = [*times[1:], max(end, times[-1])]
        frames = tuple(
            Stretch(time, until, vector)
            for (time, vector), until in zip(self._kept, ends, strict=True)
        )
        segment = Segment(times[0], ends[-1], unit(self._sum), frames)
        self._kept, self._sum, self._last = [], None, None
        return segment


def segments(
    samples: Iterable[tuple[float, FloatArray]],
    end: float,
    *,
    cut: float = CUT,
    same: float = SAME,
) -> Iterator[Segment]:
    """The segments of a video.

    Args:
        samples: times in seconds, growing, and unit vectors [dim] of the frames there.
        end: of the video, in seconds.
        cut: cosine with the sample before, below which there is a cut.
        same: cosine with the frame kept last, from which on one is not kept.
    """
    segmenter = Segmenter(cut=cut, same=same)
    for time, vector in samples:
        if (over := segmenter.add(time, np.asarray(vector, np.float32))) is not None:
            yield over
    if (last := segmenter.finish(end)) is not None:
        yield last
