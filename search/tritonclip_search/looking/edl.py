"""Moments as an edit decision list, which editing tools read: CMX 3600.

Its layout is that of the CMX 3600 manual: events of eight columns, and comments of which the clip's
name is one that all tools know.
"""

from __future__ import annotations

from collections.abc import Sequence

from tritonclip_search.hits import Hit
from tritonclip_search.video.timecode import smpte

# Where a programme begins on tape, by custom.
_HOUR = 3600
_MOST = 999


def edl(title: str, hits: Sequence[Hit], rate: int = 25) -> str:
    """The moments among `hits` one after the other, on the frames nearest to their times.

    Args:
        title: what was asked.
        hits: in order; pictures are left out, as is what comes after 999 moments.
        rate: frames a second of the project that reads it; no frames are dropped.
    """
    lines = [f"TITLE: {' '.join(title.split())[:70]}", "FCM: NON-DROP FRAME", ""]
    at = _HOUR * rate
    videos = [hit for hit in hits if hit.is_video][:_MOST]
    for number, hit in enumerate(videos, 1):
        begin = round(hit.start * rate)
        length = max(1, round(hit.end * rate) - begin)
        times = (begin, begin + length, at, at + length)
        codes = " ".join(smpte(frame / rate, rate) for frame in times)
        lines += [
            f"{number:03d}  AX       V     C        {codes}",
            f"* FROM CLIP NAME: {hit.path.rpartition('/')[2]}",
            f"* SOURCE FILE: {hit.path}",
            f"* COMMENT: score {hit.score:.3f}",
            "",
        ]
        at += length
    return "\n".join(lines)
