"""A TCP connection to a server that can be held up or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from event_loops import running


class Proxy:
    """Passes bytes on, on a port of its own; see `proxied`."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests = 0
        """Pieces of data that came from clients."""

    async def start(self) -> asyncio.Server:
        self._loop = asyncio.get_running_loop()
        self._open.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self._server

    def hold(self) -> None:
        """What is sent from now on arrives when it is released."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def cut(self) -> None:
        """As if the server died: connections end, and no new one is made."""

        def end() -> None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(end)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back, 1), self._pass(there, writer, 0))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: int
    ) -> None:
        try:
            while data := await reader.read(65536):
                self.requests += counted
                await self._open.wait()
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """A proxy in front of `target`, HOST:PORT."""
    proxy = Proxy(target)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(proxy.start())
    with running(loop, server):
        yield proxy
