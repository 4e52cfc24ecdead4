"""What is decided on."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclip.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture, or a time range of a video."""

    path: str
    sha256: str
    """Of the file's bytes."""
    vector: FloatArray
    """Unit length, float32 [dim]."""
    start: float = 0.0
    """Seconds from the beginning of the video; both 0 for a picture."""
    end: float = 0.0
