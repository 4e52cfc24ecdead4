"""Requests that arrive at replicas, one event after the other."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tritonclip_export.capacity.autoscaler import PERIOD, Autoscaler, Seen, Target
from tritonclip_export.capacity.replica import Replica

# What a rate of Prometheus looks back on, in seconds.
_WINDOW = 60.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What became of the requests.

    Attributes:
        arrivals: when each arrived, in seconds.
        latencies: seconds until each was answered.
        replicas: (from when, how many were ready), in order.
        replica_seconds: those of all replicas from their start, ready or not, to the end.
    """

    arrivals: Floats
    latencies: Floats
    replicas: tuple[tuple[float, int], ...]
    replica_seconds: float

    def percentile(self, share: float, begin: float = 0.0, end: float = math.inf) -> float:
        """Milliseconds that `share` percent of those that arrived within some time stay below."""
        within = (self.arrivals >= begin) & (self.arrivals < end)
        return 1e3 * float(np.percentile(self.latencies[within], share)) if within.any() else 0.0


class _Station:
    """One replica: first come, first served, at the rate that so many requests in it allow."""

    def __init__(self, replica: Replica, ready: float) -> None:
        self.ready = ready
        self._replica = replica
        self._waiting: deque[tuple[int, float, float]] = deque()  # number, arrival, work left
        self._now = ready
        self._lately: deque[tuple[float, float]] = deque()  # arrival, milliseconds in the queue

    def arrive(self, number: int, now: float, work: float, latencies: Floats) -> None:
        self.advance(now, latencies)
        self._waiting.append((number, now, work))
        self._lately.append((now, self._replica.queue(len(self._waiting))))

    def advance(self, now: float, latencies: Floats) -> None:
        """Work until `now`."""
        waiting, rates = self._waiting, self._replica.rates
        most = len(rates)
        at = self._now
        while waiting:
            number, arrived, work = waiting[0]
            rate = rates[min(len(waiting), most) - 1]
            end = at + work / rate
            if end > now:
                waiting[0] = (number, arrived, work - (now - at) * rate)
                break
            latencies[number] = end - arrived
            waiting.popleft()
            at = end
        self._now = now

    def seen(self, now: float) -> tuple[float, float]:
        """Milliseconds in the queue on average, and requests a second, as Prometheus has them."""
        while self._lately and self._lately[0][0] < now - _WINDOW:
            self._lately.popleft()
        if not self._lately:
            return 0.0, 0.0
        queued = sum(milliseconds for _, milliseconds in self._lately)
        return queued / len(self._lately), len(self._lately) / min(
            _WINDOW, max(now - self.ready, 1)
        )


def simulate(
    replica: Replica,
    arrivals: Floats,
    *,
    replicas: int,
    target: Target | None = None,
    start_seconds: float = 60.0,
    seed: int = 0,
) -> Outcome:
    """Let replicas of a kind answer requests that they are given in turns.

    Args:
        replica: of what kind.
        arrivals: when requests arrive, in seconds, ascending.
        replicas: how many there are at the beginning, all ready.
        target: with an autoscaler that is told this; None keeps their number.
        start_seconds: from when a replica is wanted until it answers: a node, an image, the models.
        seed: of the requests' sizes.
    """
    random = np.random.default_rng(seed)
    spread = replica.spread
    works = random.lognormal(-spread * spread / 2, spread, len(arrivals)).tolist()
    latencies = np.zeros(len(arrivals))
    stations = [_Station(replica, 0.0) for _ in range(replicas)]
    gone: list[_Station] = []
    starting: list[float] = []  # when each will be ready
    history = [(0.0, replicas)]
    seconds, since = 0.0, 0.0
    autoscaler = Autoscaler(target) if target else None
    look = PERIOD if autoscaler else math.inf
    for number, now in enumerate(arrivals.tolist()):
        while look <= now:
            assert autoscaler is not None
            seconds += (look - since) * (len(stations) + len(starting))
            since = look
            stations += [_Station(replica, ready) for ready in starting if ready <= look]
            starting = [ready for ready in starting if ready > look]
            seen = [station.seen(look) for station in stations]
            queues, requests = zip(*seen, strict=True)
            wanted = autoscaler.decide(look, Seen(queues, requests, len(starting)))
            starting += [look + start_seconds] * (wanted - len(stations) - len(starting))
            while len(stations) + len(starting) > wanted:
                if starting:
                    starting.pop()
                else:
                    gone.append(stations.pop())
            if history[-1][1] != len(stations):
                history.append((look, len(stations)))
            look += PERIOD
        stations[number % len(stations)].arrive(number, now, works[number], latencies)
    end = float(arrivals[-1]) if len(arrivals) else 0.0
    for station in (*stations, *gone):
        station.advance(math.inf, latencies)
    seconds += (end - since) * (len(stations) + len(starting))
    return Outcome(arrivals, latencies, tuple(history), seconds)
