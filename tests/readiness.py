"""Waiting for a server that is being started again."""

from __future__ import annotations

import time
from contextlib import suppress
from urllib.request import urlopen


def until_ready(http_url: str, seconds: float = 30.0) -> None:
    """Wait until the server at HOST:PORT says that all its models are ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), urlopen(f"http://{http_url}/v2/health/ready", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(f"no server at {http_url} within {seconds:g} s")


def until_settled(http_url: str) -> None:
    """The same after a client ended early, which breaks Triton 2.51 now and then, soon after."""
    time.sleep(0.5)
    until_ready(http_url)
