"""Stopping requests that other threads are waiting for."""

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
        self._lock = threading.Lock()
        self._stops: dict[int, Callable[[], object]] = {}

    def cancel(self) -> None:
        """Stop what is registered now, and whatever will be."""
        with self._lock:
            self._thrown.set()
            stops = list(self._stops.values())
        for stop in stops:
            stop()

    @property
    def cancelled(self) -> bool:
        """Whether the switch has been thrown."""
        return self._thrown.is_set()

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Within the block, cancelling calls `stop`; at once if it has happened already."""
        with self._lock:
            thrown = self._thrown.is_set()
            self._stops[id(stop)] = stop
        if thrown:
            stop()
        try:
            yield
        finally:
            with self._lock:
                self._stops.pop(id(stop), None)

    def check(self) -> None:
        """Go on only if the switch has not been thrown.

        Raises:
            ClientClosed: it has.
        """
        self.sleep(0)

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            ClientClosed: the switch is thrown meanwhile.
        """
        if self._thrown.wait(seconds):
            raise ClientClosed("the request was cancelled")
