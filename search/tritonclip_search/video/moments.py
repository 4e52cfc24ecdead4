"""Moments: what was found of videos, put together to ranges that somebody wants to see.

A search finds frames and segments. Of one video, those that score at least halfway between the
best of them and the whole video, and that touch, are one moment: as wide as its peak is at half of
its height. What only touches a moment is its slope, and none of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tritonclip_search.hits import Hit
from tritonclip_search.records import Kind

_GAP = 1.0
"""Seconds between two that still touch: one sample that missed."""


def moments(hits: Sequence[Hit], wholes: Mapping[str, float]) -> list[Hit]:
    """Pictures as they are and videos by their moments, the best first.

    A moment's record is that of its best frame, where one was found, and its score the best of all.

    Args:
        hits: pictures, frames, segments and whole videos.
        wholes: scores of whole videos by their `file`; one that is missing counts as its worst hit.
    """
    found = [hit for hit in hits if not hit.is_video]
    videos: dict[str, list[Hit]] = {}
    for hit in hits:
        if hit.is_video:
            videos.setdefault(hit.record.file, []).append(hit)
    for file, of_one in videos.items():
        parts = [hit for hit in of_one if hit.record.kind is not Kind.VIDEO] or of_one
        base = wholes.get(file, min(hit.score for hit in parts))
        found += _moments_of_one(parts, base)
    return sorted(found, key=lambda hit: -hit.score)


def clips(hits: Sequence[Hit]) -> list[Hit]:
    """The best of each file, in order."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(hit.record.file, hit)
    return list(best.values())


def _moments_of_one(parts: list[Hit], base: float) -> Iterator[Hit]:
    left = parts
    while left:
        peak = max(hit.score for hit in left)
        floor = (peak + min(base, peak)) / 2
        made = [_together(some) for some in _touching([h for h in left if h.score >= floor])]
        yield from made
        left = [h for h in left if h.score < floor and not any(_touch(h, m) for m in made)]


def _touching(hits: Sequence[Hit]) -> Iterator[list[Hit]]:
    group: list[Hit] = []
    end = 0.0
    for hit in sorted(hits, key=lambda hit: hit.start):
        if group and hit.start > end + _GAP:
            yield group
            group = []
        end = max(end, hit.end) if group else hit.end
        group.append(hit)
    yield group


def _touch(one: Hit, other: Hit) -> bool:
    return one.start <= other.end + _GAP and other.start <= one.end + _GAP


def _together(hits: Sequence[Hit]) -> Hit:
    frames = [hit for hit in hits if hit.record.kind is Kind.FRAME]
    best = max(hits, key=lambda hit: hit.score)
    shown = max(frames or hits, key=lambda hit: hit.score)
    return replace(
        best,
        record=shown.record,
        start=min(hit.start for hit in hits),
        end=max(hit.end for hit in hits),
    )
