"""An event loop in a thread, with a server that stands between clients and another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running(loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> Iterator[None]:
    """Run `loop` until the block ends; then close the server, its connections and the loop."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(_end_all())
        loop.close()


async def _end_all() -> None:
    """Cancel all tasks, those included that begin meanwhile: for connections just accepted."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # in which closed connections end, and others may come
