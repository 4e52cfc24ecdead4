"""Times of a video, as people and as editing tools write them."""

from __future__ import annotations

from datetime import datetime, timezone

_CLOCK = 1e9
"""Seconds from which on a time is one of the clock: in 2001, or after 31 years of video."""


def clock(seconds: float) -> str:
    """As `00:03:12`: hours, minutes and whole seconds, rounded down."""
    whole = int(seconds + 1e-6)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def span(start: float, end: float) -> str:
    """A range, as `00:03:12-00:03:19`; its end is rounded up.

    Times since 1970, as live sources have them, as `2026-11-28 17:03:12-17:03:19Z`.
    """
    if start >= _CLOCK:
        first, last = (datetime.fromtimestamp(t, timezone.utc) for t in (start, end))
        return f"{first:%Y-%m-%d %H:%M:%S}-{last:%H:%M:%S}Z"
    return f"{clock(start)}-{clock(-(-(end - 1e-6) // 1))}"


def smpte(seconds: float, rate: int) -> str:
    """Hours, minutes, seconds and frames at a whole rate, as `00:03:12:24`; no frames are dropped.

    As of SMPTE ST 12-1, non-drop.
    """
    frames = round(seconds * rate)
    return f"{clock(frames // rate)}:{frames % rate:02d}"
