"""When a failed request is worth another try, and how long to wait before it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tritonclip.errors import RequestTimeout, ServerUnavailable, TritonClipError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0


@dataclass
class Backoff:
    """Retries and deadline of one request.

    The deadline covers the request with its retries, so a call takes no longer than it promises.
    Pauses double from `FIRST_PAUSE` seconds, each shortened at random by up to a half so that many
    clients do not return at once.
    """

    retries: int
    timeout: float
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    _tried: int = field(default=0, init=False)
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._end = self.clock() + self.timeout

    def remaining(self) -> float:
        """Seconds until the deadline.

        Raises:
            RequestTimeout: it has passed.
        """
        left = self._end - self.clock()
        if left <= 0:
            raise RequestTimeout(f"no answer within {self.timeout:g} s; raise `timeout`?")
        return left

    def pause_after(self, error: TritonClipError) -> float:
        """Seconds to wait before the next try.

        Raises:
            TritonClipError: `error` itself, if it is not transient, or tries or time are used up.
        """
        pause = min(FIRST_PAUSE * 2.0**self._tried, LONGEST_PAUSE) * (1 - self.jitter() / 2)
        last = self._tried >= self.retries or self.clock() + pause >= self._end
        if last or not isinstance(error, ServerUnavailable):
            raise error
        self._tried += 1
        return pause
