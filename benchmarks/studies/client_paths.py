"""The ways in which applications call the client, each measured for some seconds.

What counts is the CPU time of this process, all its threads: so many images can one core of an
application feed, however slow the server is meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tritonclip import AsyncClient, Client, ImageInput

CALLERS = 32
LIST = 256

Images = Sequence[ImageInput]


@dataclass(frozen=True)
class Turn:
    """One measurement: images, over and over, until an end on `time.monotonic`'s clock."""

    images: Images
    end: float

    def one_by_one(self) -> Iterator[ImageInput]:
        """Single images."""
        return itertools.takewhile(lambda _: time.monotonic() < self.end, self._endless())

    def in_lists(self) -> Iterator[list[ImageInput]]:
        """Lists of `LIST` images."""
        images = self._endless()
        while time.monotonic() < self.end:
            yield list(itertools.islice(images, LIST))

    def _endless(self) -> Iterator[ImageInput]:
        return itertools.cycle(self.images)


def lists(client: Client, turn: Turn) -> int:
    """`embed_images` with long lists."""
    return sum(len(client.embed_images(images)) for images in turn.in_lists())


def stream(client: Client, turn: Turn) -> int:
    """`stream_images`."""
    return sum(1 for _ in client.stream_images(turn.one_by_one()))


def one_thread(client: Client, turn: Turn) -> int:
    """`embed_images` with single images, one after the other."""
    return sum(client.embed_images(image).ndim for image in turn.one_by_one())


def threads(client: Client, turn: Turn) -> int:
    """The same from many threads."""
    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(lambda _: one_thread(client, turn), range(CALLERS)))


async def async_lists(client: AsyncClient, turn: Turn) -> int:
    """`lists` with `await`."""
    return sum([len(await client.embed_images(images)) for images in turn.in_lists()])


async def async_stream(client: AsyncClient, turn: Turn) -> int:
    """`stream` with `await`."""
    return sum([1 async for _ in client.stream_images(turn.one_by_one())])


async def tasks(client: AsyncClient, turn: Turn) -> int:
    """Single images from many tasks."""

    async def caller() -> int:
        return sum([(await client.embed_images(image)).ndim for image in turn.one_by_one()])

    return sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))


BLOCKING: dict[str, Callable[[Client, Turn], int]] = {
    "lists": lists,
    "stream": stream,
    "single images, one thread": one_thread,
    f"single images, {CALLERS} threads": threads,
}
ASYNCHRONOUS: dict[str, Callable[[AsyncClient, Turn], Awaitable[int]]] = {
    "async lists": async_lists,
    "async stream": async_stream,
    f"async single images, {CALLERS} tasks": tasks,
}


def every_way(url: str, images: Images, seconds: float) -> dict[str, dict[str, float]]:
    """Figures of each way by its name, for encoded images."""
    found = {name: blocking(url, images, seconds, name) for name in BLOCKING}
    return {**found, **asyncio.run(_asynchronous(url, images, seconds))}


def blocking(url: str, images: Images, seconds: float, way: str) -> dict[str, float]:
    """Figures of one way of the blocking client."""
    with Client(url, concurrency=CALLERS) as client:
        client.embed_images(images)
        clock = _Clock()
        count = BLOCKING[way](client, Turn(images, clock.began + seconds))
        return clock.figures(count)


async def _asynchronous(url: str, images: Images, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for name, way in ASYNCHRONOUS.items():
        async with AsyncClient(url, concurrency=CALLERS) as client:
            await client.embed_images(images)
            clock = _Clock()
            count = await way(client, Turn(images, clock.began + seconds))
            found[name] = clock.figures(count)
    return found


class _Clock:
    """Time and this process's CPU time since it was made."""

    def __init__(self) -> None:
        self.began, self._cpu = time.monotonic(), time.process_time()

    def figures(self, count: int) -> dict[str, float]:
        return {
            "per_second": count / (time.monotonic() - self.began),
            "per_second_of_cpu": count / (time.process_time() - self._cpu),
        }
