"""Times of a video, as people and as editing tools write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """As `00:03:12`: hours, minutes and whole seconds, rounded down."""
    whole = int(seconds + 1e-6)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def span(start: float, end: float) -> str:
    """A range, as `00:03:12-00:03:19`; its end is rounded up."""
    return f"{clock(start)}-{clock(-(-(end - 1e-6) // 1))}"


def smpte(seconds: float, rate: int) -> str:
    """Hours, minutes, seconds and frames at a whole rate, as `00:03:12:24`; no frames are dropped.

    As of SMPTE ST 12-1, non-drop.
    """
    frames = round(seconds * rate)
    return f"{clock(frames // rate)}:{frames % rate:02d}"
