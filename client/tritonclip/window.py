"""A bounded window of work in flight, with its results in order: blocking, and asynchronous."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

from tritonclip.cancellation import Cancellation
from tritonclip.errors import ClientClosed

T = TypeVar("T")
R = TypeVar("R")


class Slots:
    """A semaphore for many threads: `threading.Semaphore`'s own lock is where they would queue."""

    def __init__(self, count: int) -> None:
        """Let `count` threads in at a time."""
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def __enter__(self) -> None:
        self._free.get()

    def __exit__(self, *error: object) -> None:
        self._free.put(None)


def at_once(job: T, work: Callable[[T, Cancellation | None], R]) -> Generator[R, None, None]:
    """The result of a single job, done in the caller's thread and without a cancellation.

    There is nothing else to stop, and a pool's thread switches take as much CPU time as a request.
    """
    yield work(job, None)


def in_order(
    jobs: Iterable[T],
    work: Callable[[T, Cancellation | None], R],
    pool: Executor,
    size: int,
    closing: Cancellation,
) -> Generator[R, None, None]:
    """Results of `work` in the order of `jobs`, which are read no more than `size` ahead.

    Ending it in any way, an exception or Ctrl-C included, stops what is in flight; so does
    `closing`.
    """
    cancellation = Cancellation()
    pending: deque[Future[R]] = deque()
    with closing.stopping(cancellation.cancel):
        try:
            for job in jobs:
                pending.append(pool.submit(work, job, cancellation))
                if len(pending) == size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except RuntimeError as error:
            if closing.cancelled:  # and the pool with it, which takes no more
                raise ClientClosed("the client was closed during the call") from error
            raise
        finally:
            cancellation.cancel()
            for future in pending:
                future.cancel()


async def at_once_async(
    job: T, work: Callable[[T], Coroutine[Any, Any, R]]
) -> AsyncGenerator[R, None]:
    """`at_once` for coroutines, without a task of its own."""
    yield await work(job)


async def in_order_async(
    jobs: AsyncIterable[T],
    work: Callable[[T], Coroutine[Any, Any, R]],
    size: int,
) -> AsyncGenerator[R, None]:
    """`in_order` for coroutines."""
    pending: deque[asyncio.Task[R]] = deque()
    try:
        async for job in jobs:
            pending.append(asyncio.create_task(work(job)))
            if len(pending) == size:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
