"""Gateways that tests start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tritonclip_gateway.serving import HttpServer
from tritonclip_gateway.settings import Settings


@contextmanager
def running(**settings: object) -> Iterator[HttpServer]:
    """A gateway in a thread, on a free port."""
    started = threading.Event()
    server = HttpServer(Settings(**{"port": 0, **settings}), lambda _: started.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()
