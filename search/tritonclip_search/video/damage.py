"""What of a video cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tritonclip_search.video.timecode import span

# Seconds between two failures below which they are told as one.
_NEAR = 1.0


@dataclass(frozen=True)
class Damage:
    """A range of a video, in seconds, that was left out."""

    start: float
    end: float
    reason: str

    def __str__(self) -> str:
        return f"{span(self.start, self.end)} {self.reason}"


class DamageLog:
    """Puts failures together into ranges: from the last frame before to the first one after."""

    def __init__(self, tell: Callable[[Damage], object]) -> None:
        self._tell = tell
        self._good = 0.0
        self._bad: Damage | None = None

    def good(self, time: float) -> None:
        """A frame that is well."""
        bad = self._bad
        if bad is not None and bad.end <= bad.start:
            self._bad = Damage(bad.start, max(time, bad.start), bad.reason)
        elif bad is not None and time > bad.end + _NEAR:
            self.close()
        self._good = time

    def bad(self, reason: str) -> None:
        """Something behind the last frame that was well is not."""
        start = self._bad.start if self._bad is not None else self._good
        self._bad = Damage(start, start, reason)

    def close(self, end: float = 0.0) -> None:
        """Nothing more comes until `end`."""
        if self._bad is not None:
            bad, self._bad = self._bad, None
            self._tell(Damage(bad.start, max(bad.end, end), bad.reason))
