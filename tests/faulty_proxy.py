"""A connection to a server on which one thing goes wrong, each time or the first times only."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from event_loops import running

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
# Passes an answer on, or does not: the server's side, the client's side.
Fault = Callable[[Reader, Writer], Awaitable[None]]


async def passes(server: Reader, client: Writer) -> None:
    while data := await server.read(65536):
        client.write(data)


async def delays(server: Reader, client: Writer) -> None:
    """In pieces of a few bytes, with pauses."""
    while data := await server.read(65536):
        for start in range(0, len(data), 50):
            client.write(data[start : start + 50])
            await asyncio.sleep(0.002)


async def drops(server: Reader, _: Writer) -> None:
    """Nothing arrives, and the connection stays."""
    while await server.read(65536):
        pass


async def resets(server: Reader, client: Writer) -> None:
    await server.read(1)
    await reset(client)


async def truncates(server: Reader, client: Writer) -> None:
    """The end of the answer is missing, and the connection ends in order."""
    data = await server.read(65536)
    client.write(data[: len(data) * 2 // 3])


async def half_closes(server: Reader, client: Writer) -> None:
    """As a server that has shut down the side it writes on, and still reads."""
    await server.read(65536)
    client.write_eof()
    await asyncio.sleep(5)


async def garbles(server: Reader, client: Writer) -> None:
    while data := await server.read(65536):
        client.write(os.urandom(len(data)))


async def reset(writer: Writer) -> None:
    """End a connection with RST instead of FIN."""
    await writer.drain()
    lingering = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    writer.transport.abort()


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault for fault in (delays, drops, resets, truncates, half_closes, garbles)
}


@contextmanager
def proxied(target: str, fault: Fault, connections: int) -> Iterator[str]:
    """HOST:PORT of a proxy in front of `target`, faulty on its first so many connections."""
    loop, left = asyncio.new_event_loop(), [connections]
    host, _, port = target.rpartition(":")

    async def accept(reader: Reader, writer: Writer) -> None:
        left[0] -= 1
        there, back = await asyncio.open_connection(host, int(port))
        upwards = asyncio.create_task(passes(reader, back))
        with suppress(OSError):
            await (fault if left[0] >= 0 else passes)(there, writer)
        upwards.cancel()
        for end in (back, writer):
            end.close()

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    with running(loop, server):
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """HOST:PORT of what gives every request this answer."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    while connection.recv(65536):
                        connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
