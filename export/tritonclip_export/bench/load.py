"""Closed-loop and open-loop load from the threads of one process.

Closed loop: each of n callers sends its next request when it has the answer to the last one. It
finds the throughput at a concurrency, and flatters latency: a server that stalls is asked less.

Open loop: requests are due at a constant rate, whatever the server does, and latency counts from
the moment a request was due rather than from when it could be sent, so that a stall is charged to
every request that it delays. Leaving those out is "coordinated omission" (G. Tene, "How NOT to
Measure Latency", 2013).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tritonclip_export.bench.sending import RequestFailed

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]

# How long an open loop goes on sending what was due before the end.
PATIENCE_SECONDS = 10.0
# A server that refuses at once is not to be asked as fast as this process can.
_PAUSE_AFTER_FAILURE = 0.05

UNSENT = "not sent: every connection was waiting"


@dataclass(frozen=True)
class Timing:
    """When a load runs and which part of it counts, in seconds of `time.monotonic`.

    That clock is the same for all processes of a machine, so they begin and end together.
    """

    start: float
    warmup: float
    seconds: float
    """Of one repeat; repeats follow each other without a pause."""
    repeats: int

    @property
    def begin(self) -> float:
        """When the first repeat begins."""
        return self.start + self.warmup

    @property
    def end(self) -> float:
        """When the last repeat ends."""
        return self.begin + self.seconds * self.repeats


@dataclass(frozen=True)
class Log:
    """Every request of a load, warm-up included, as arrays [requests] in seconds.

    Attributes:
        due: when it should have been sent; in a closed loop, when it was.
        sent: when it was.
        done: when its answer was there; for one that was never sent, when the load gave up.
        failures: why it failed; empty for one that did not.
    """

    due: FloatArray
    sent: FloatArray
    done: FloatArray
    failures: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[tuple[float, float, float, str]]) -> Log:
        """From one tuple a request."""
        times = np.array([entry[:3] for entry in entries], dtype=np.float64).reshape(-1, 3)
        due, sent, done = times.T
        return cls(due, sent, done, tuple(entry[3] for entry in entries))

    @classmethod
    def joined(cls, logs: Sequence[Log]) -> Log:
        """Those of several processes as one."""
        return cls(
            np.concatenate([log.due for log in logs]),
            np.concatenate([log.sent for log in logs]),
            np.concatenate([log.done for log in logs]),
            tuple(failure for log in logs for failure in log.failures),
        )


def closed_loop(
    sends: Sequence[Callable[[T], object]], make: Callable[[], T], timing: Timing
) -> Log:
    """One caller for each of `sends`, in a thread of its own.

    Args:
        sends: send a request and wait for its answer; raise `RequestFailed`.
        make: the next request; called by all threads.
        timing: no request is sent after its end.
    """

    def caller(send: Callable[[T], object]) -> Iterator[tuple[float, float, float, str]]:
        _sleep_until(timing.start)
        request = make()
        while (began := time.monotonic()) < timing.end:
            failure = _attempt(send, request)
            yield began, began, time.monotonic(), failure
            if failure:
                time.sleep(_PAUSE_AFTER_FAILURE)
            request = make()

    return _in_threads(sends, caller)


def open_loop(
    sends: Sequence[Callable[[T], object]],
    make: Callable[[], T],
    timing: Timing,
    rate: float,
    *,
    share: tuple[int, int] = (0, 1),
    patience: float = PATIENCE_SECONDS,
) -> Log:
    """Requests at a constant rate, as many at a time as there are `sends`.

    Args:
        sends: as for `closed_loop`; if all wait for an answer, what is due waits as well.
        make: the next request; called by all threads.
        timing: no request is due after its end.
        rate: requests a second.
        share: this process and the number of them that share the rate: request k is due `k / rate`
            seconds after the start, and process i of n sends k = i, i + n, i + 2n, ...
        patience: seconds after the end in which what was due before is still sent. What is left
            then is logged as `UNSENT`, and its latency is a lower bound.
    """
    first, step = share
    turns = itertools.count(first, step)

    def caller(send: Callable[[T], object]) -> Iterator[tuple[float, float, float, str]]:
        while (due := timing.start + next(turns) / rate) < timing.end:
            request = make()
            _sleep_until(due)
            sent = time.monotonic()
            if sent > timing.end + patience:
                yield due, sent, sent, UNSENT
                continue
            failure = _attempt(send, request)
            yield due, sent, time.monotonic(), failure

    return _in_threads(sends, caller)


def _in_threads(
    sends: Sequence[Callable[[T], object]],
    caller: Callable[[Callable[[T], object]], Iterator[tuple[float, float, float, str]]],
) -> Log:
    with ThreadPoolExecutor(len(sends)) as threads:
        running = [threads.submit(lambda send: list(caller(send)), send) for send in sends]
        return Log.of([entry for thread in running for entry in thread.result()])


def _attempt(send: Callable[[T], object], request: T) -> str:
    try:
        send(request)
    except RequestFailed as error:
        return str(error) or "failed"
    return ""


def _sleep_until(moment: float) -> None:
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)
