"""Giving memory back to the system after pictures that took much of it.

The C library keeps what is freed: of 700 MB that two pictures of 88 megapixels took at a time, all
but some stayed with the process, for ever. Giving it back takes 50 ms, so it is done after such a
batch only.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

GROWTH_BYTES = 256 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """How much memory this process has had, and when to give some back."""

    def __init__(self) -> None:
        """Begin with what it has now."""
        self._usual = resident()

    def after_batch(self) -> None:
        """Give back what was freed, if the process has grown by more than `GROWTH_BYTES`."""
        if resident() - self._usual > GROWTH_BYTES:
            with suppress(AttributeError, OSError):  # another C library than glibc
                ctypes.CDLL(None).malloc_trim(0)
            self._usual = resident()


def resident(statm: Path = Path("/proc/self/statm")) -> int:
    """Bytes of this process in memory, by proc(5); 0 where that cannot be known."""
    return int(statm.read_text().split()[1]) * _PAGE if statm.exists() else 0
