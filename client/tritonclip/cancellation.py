"""Stopping requests that other threads are waiting for.

Every request of every thread passes here, so nothing takes a lock: a thread that loses the GIL with
one in its hands would make all others wait. A dictionary's single operations are atomic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tritonclip.errors import ClientClosed


class Cancellation:
    """A switch, thrown once, that stops every request registered with it."""

    def __init__(self) -> None:
        """Make a switch that has not been thrown."""
        self._thrown = threading.Event()
        self._stops: dict[int, Callable[[], object]] = {}

    def cancel(self) -> None:
        """Stop what is registered now, and whatever will be."""
        self._thrown.set()
        for stop in self._stops.copy().values():
            stop()

    @property
    def cancelled(self) -> bool:
        """Whether the switch has been thrown."""
        return self._thrown.is_set()

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Within the block, cancelling calls `stop`, perhaps twice; at once if it has happened."""
        self._stops[id(stop)] = stop
        if self._thrown.is_set():
            stop()
        try:
            yield
        finally:
            self._stops.pop(id(stop), None)

    def check(self) -> None:
        """Go on only if the switch has not been thrown.

        Raises:
            ClientClosed: it has.
        """
        if self._thrown.is_set():
            raise ClientClosed("the request was cancelled")

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            ClientClosed: the switch is thrown meanwhile.
        """
        if self._thrown.wait(seconds):
            raise ClientClosed("the request was cancelled")
