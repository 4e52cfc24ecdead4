"""The options both clients take, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tritonclip.errors import InvalidArgument


@dataclass(frozen=True)
class Options:
    """How a client sends requests."""

    model: str | None
    timeout: float
    concurrency: int
    batch_size: int
    retries: int

    @property
    def window(self) -> int:
        """Batches read ahead: one more than is in flight, so that no slot waits for packing."""
        return self.concurrency + 1

    def for_discovery(self) -> Options:
        """The same, for the first question: where no server has answered yet, there may be none."""
        return replace(self, retries=min(self.retries, 3))

    def for_health(self) -> Options:
        """The same, impatient: no retries, and no answer within seconds is an answer."""
        return replace(self, retries=0, timeout=min(self.timeout, 5.0))

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidArgument: names the option and its value.
        """
        for name, least in (("concurrency", 1), ("batch_size", 1), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InvalidArgument(f"{name} must be an integer, {least} or more, not {value!r}")
        if not 0 < self.timeout < math.inf:
            raise InvalidArgument(f"timeout must be more than 0 seconds, not {self.timeout!r}")
        if self.model == "":
            raise InvalidArgument("model must be a name, or None for the only one on the server")
