"""The questions: how many replicas each hour of a day needs, what a burst does, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tritonclip.errors import InvalidArgument
from tritonclip_export.capacity.autoscaler import Target
from tritonclip_export.capacity.replica import Replica
from tritonclip_export.capacity.simulation import Outcome, simulate
from tritonclip_export.capacity.traffic import arrivals

# Of each hour so many requests are simulated, or so many for each replica: enough for a 99th
# percentile, and for queues to form.
_REQUESTS = 10_000
_REQUESTS_EACH = 1_000
# What takes a minute to simulate.
_MOST = 20_000_000
# Before a burst and after it, in seconds.
_CALM = 300.0
_AFTER = 900.0


@dataclass(frozen=True)
class Hour:
    """One hour of the day."""

    requests_per_second: float
    replicas: int
    p99_ms: float


@dataclass(frozen=True)
class Burst:
    """A rise of the load while an autoscaler looks on.

    Attributes:
        requests_per_second: before, and during the burst.
        replicas: before, and the most during it or after.
        p99_ms: before, and of requests that arrived during the burst.
        recovered_seconds: from its begin until a second in which 99 of 100 requests met the target
            again, and did from then on; None if they did not.
    """

    requests_per_second: tuple[float, float]
    replicas: tuple[int, int]
    p99_ms: tuple[float, float]
    recovered_seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a day needs.

    Attributes:
        per_replica: requests a second that one replica answers within the target: what the chart
            takes as `autoscaling.requestsPerSecond`.
        hours: the 24 of them.
        dollars: a day, with as many replicas in each hour as it needs.
        dollars_fixed: a day, with as many all day as the busiest hour needs.
        burst: in the busiest hour.
    """

    per_replica: float
    hours: tuple[Hour, ...]
    dollars: float
    dollars_fixed: float
    burst: Burst | None


@dataclass(frozen=True)
class Rise:
    """A burst to be simulated: so many times the load for so long."""

    times: float
    seconds: float


def within(replica: Replica, p99_ms: float) -> float:
    """Requests a second of which one replica answers 99 of 100 within `p99_ms`, to 1 %.

    Raises:
        InvalidArgument: not even a request that is alone is answered in that time.
    """
    low, high = 0.0, replica.most
    while high - low > 0.01 * replica.most:
        middle = (low + high) / 2
        low, high = (middle, high) if p99(replica, middle, 1) <= p99_ms else (low, middle)
    if not low:
        alone = 1e3 / replica.rates[0]
        raise InvalidArgument(
            f"a request that is alone takes {alone:.3g} ms on average, so 99 of 100 cannot be "
            f"answered within {p99_ms:g} ms by more servers: choose a longer time, or a faster one"
        )
    return low


def plan(
    replica: Replica,
    rates: Sequence[float],
    *,
    p99_ms: float,
    per_replica: float,
    price: float,
    rise: Rise | None = None,
    target: Target,
    start_seconds: float = 60.0,
) -> Plan:
    """Find how many replicas each hour needs, and what a burst does to the busiest.

    Args:
        replica: what one does.
        rates: requests a second in each hour.
        p99_ms: what 99 of 100 requests shall take at most.
        per_replica: what `within` says about that.
        price: dollars an hour for a replica.
        rise: the burst; None for none.
        target: of the autoscaler; its least number of replicas is kept in every hour.
        start_seconds: from when a replica is wanted until it answers.

    Raises:
        InvalidArgument: the burst is too large to be simulated.
    """
    if rise is not None:
        _check(rise, max(rates))
    hours = tuple(_hour(replica, rate, p99_ms, per_replica, target.least) for rate in rates)
    count = [hour.replicas for hour in hours]
    burst = None
    if rise is not None:
        busiest = max(hours, key=lambda hour: hour.requests_per_second)
        burst = _burst(replica, busiest, rise, target, start_seconds, p99_ms)
    return Plan(
        per_replica=per_replica,
        hours=hours,
        dollars=price * sum(count),
        dollars_fixed=price * max(count) * len(hours),
        burst=burst,
    )


def p99(replica: Replica, rate: float, replicas: int) -> float:
    """Milliseconds that 99 of 100 requests stay below at a constant rate."""
    step = max(_REQUESTS, _REQUESTS_EACH * replicas) / rate / 100
    came = arrivals([rate] * 100, step, np.random.default_rng(1))
    return simulate(replica, came, replicas=replicas).percentile(99)


def _hour(replica: Replica, rate: float, p99_ms: float, most: float, least: int) -> Hour:
    if rate <= 0:
        return Hour(0.0, least, 0.0)
    # Requests that are dealt out in turns arrive more evenly than by chance at each of several
    # replicas, so fewer may do than the rate that one answers alone says.
    count = max(least, int(rate / most * 0.9))
    while (took := p99(replica, rate, count)) > p99_ms:
        count += 1
    return Hour(rate, count, took)


def _check(rise: Rise, calm: float) -> None:
    requests = calm * (_CALM + _AFTER + rise.times * rise.seconds)
    if requests > _MOST:
        raise InvalidArgument(
            f"the burst is {requests / 1e6:,.0f} million requests, and {_MOST / 1e6:.0f} million "
            "are simulated at most: simulate a tenth of the load, on a tenth of the replicas"
        )


def _burst(
    replica: Replica,
    hour: Hour,
    rise: Rise,
    target: Target,
    start_seconds: float,
    p99_ms: float,
) -> Burst:
    calm, high = hour.requests_per_second, hour.requests_per_second * rise.times
    begin, end = _CALM, _CALM + rise.seconds
    seconds = np.arange(round(end + _AFTER))
    rates = np.where((seconds >= begin) & (seconds < end), high, calm)
    came = arrivals(rates, 1.0, np.random.default_rng(2))
    outcome = simulate(
        replica, came, replicas=hour.replicas, target=target, start_seconds=start_seconds
    )
    p99 = partial(outcome.percentile, 99)
    ready = [count for _, count in outcome.replicas]
    return Burst(
        requests_per_second=(calm, high),
        replicas=(hour.replicas, max(ready)),
        p99_ms=(p99(begin / 2, begin), p99(begin, end)),
        recovered_seconds=_recovered(outcome, begin, p99_ms),
    )


def _recovered(outcome: Outcome, begin: float, p99_ms: float) -> float | None:
    last = int(outcome.arrivals[-1])
    # Of ten seconds each, as a second alone may have too few requests for a percentile.
    starts = list(range(int(begin), last - 9, 10))
    late = [start for start in starts if outcome.percentile(99, start, start + 10) > p99_ms]
    if not late:
        return 0.0
    return None if late[-1] == starts[-1] else late[-1] + 10 - begin
