"""The processes that make the load."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from tritonclip_export.bench.load import Log, Timing, closed_loop, open_loop
from tritonclip_export.bench.sending import Request, Target, senders

TIMEOUT_SECONDS = 60.0
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """What is sent where, and how: at a rate in requests a second, or closed if that is None."""

    target: Target
    requests: Callable[[int], Request]
    """The request with a number; travels to other processes."""
    concurrency: int
    rate: float | None


_meeting: Barrier | None = None


def _join(meeting: Barrier) -> None:
    global _meeting
    _meeting = meeting


class Workers:
    """Some processes that share a load."""

    def __init__(self, pool: ProcessPoolExecutor, count: int) -> None:
        self._pool = pool
        self.count = count
        # Texts that were sent before would be answered from a cache.
        self._next = 0
        self.pids = self._pids()

    def start(self, load: Load, timing: Timing) -> list[Future[tuple[Log, int]]]:
        """Begin; every worker takes an equal part of the callers and of the rate."""
        jobs = [
            self._pool.submit(_work, load, timing, worker, self.count, self._next)
            for worker in range(self.count)
        ]
        return jobs

    def finish(self, jobs: list[Future[tuple[Log, int]]]) -> Log:
        """Wait for the end, and give every request that was sent."""
        done = [job.result() for job in jobs]
        self._next = max(last for _, last in done)
        return Log.joined([log for log, _ in done])

    def _pids(self) -> list[int]:
        return [job.result() for job in [self._pool.submit(_pid) for _ in range(self.count)]]


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """`count` processes, ready to send; they end with the block."""
    # Forked from a process with threads, as gRPC's, they could hang.
    context = multiprocessing.get_context("spawn")
    meeting = context.Barrier(count)
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_join, initargs=(meeting,)
    ) as pool:
        yield Workers(pool, count)


def _meet() -> None:
    """Wait for the other workers, so that each of them takes one part of every job."""
    assert _meeting is not None
    _meeting.wait(_READY_SECONDS)


def _pid() -> int:
    _meet()
    pid = multiprocessing.current_process().pid
    assert pid is not None
    return pid


def _work(load: Load, timing: Timing, worker: int, count: int, first: int) -> tuple[Log, int]:
    """One worker's part: its log, and a number that no request has had yet."""
    _meet()
    numbers = itertools.count(first + worker, count)
    callers = load.concurrency // count + (worker < load.concurrency % count)
    with senders(load.target, callers, timeout=TIMEOUT_SECONDS) as sends:

        def make() -> Request:
            return load.requests(next(numbers))

        if load.rate is None:
            log = closed_loop(sends, make, timing)
        else:
            log = open_loop(sends, make, timing, load.rate, share=(worker, count))
    return log, next(numbers) + count
