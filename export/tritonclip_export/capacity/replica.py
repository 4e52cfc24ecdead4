"""A replica as a queueing station, from a closed-loop benchmark of one.

A part of a queueing network that is measured on its own with n requests in it, and answers X(n) a
second, acts in any larger network like a single station of service rate X(n): the flow-equivalent
server of Chandy, Herzog and Woo, "Parametric analysis of queuing networks" (IBM Journal of Research
and Development 19, 1975). `bench --concurrency` measures just that: batching, preprocessing beside
the encoder, cores that are shared, all are in X(n), and nothing about them has to be assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.errors import BenchmarkError

# Of the normal distribution: the 99th percentile in standard deviations.
_Z99 = 2.326


@dataclass(frozen=True)
class Replica:
    """What one server does with n requests in it; both are lists by n, from 1.

    Attributes:
        rates: requests answered a second; of more than there are entries for, the last.
        queues: milliseconds that a request waits in the queue of the slowest step, as Triton counts
            them; of more, a request more for each.
        spread: of the work of a request, as the sigma of a log-normal distribution with mean 1.
    """

    rates: tuple[float, ...]
    queues: tuple[float, ...]
    spread: float

    @property
    def most(self) -> float:
        """Requests a second that it answers at best."""
        return max(self.rates)

    def queue(self, waiting: int) -> float:
        """Milliseconds in the queue with so many requests in it."""
        known = len(self.queues)
        if waiting <= known:
            return self.queues[waiting - 1]
        return self.queues[-1] + 1000 * (waiting - known) / self.rates[-1]


def replica_of(report: Report, workload: str) -> Replica:
    """The replica whose closed loops a report has.

    Raises:
        BenchmarkError: the report does not have them for that workload.
    """
    measured = [m for m in report.measurements if m.workload == workload and m.rate is None]
    by_callers = {m.concurrency: m for m in measured}
    if len(by_callers) < 3 or min(by_callers) > 1:
        there = ", ".join(map(str, sorted(by_callers))) or "none"
        raise BenchmarkError(
            f"the report has {workload!r} with these numbers of callers: {there}; at least three, "
            "the first of them 1, tell how a server behaves: `tritonclip bench --workloads "
            f"{workload} --concurrency 1,2,4,8,16,32 --output report.json`"
        )
    callers = sorted(by_callers)
    loops = [by_callers[number] for number in callers]
    everyone = range(1, callers[-1] + 1)
    rates = [loop.throughput.mean / loop.batch for loop in loops]
    return Replica(
        rates=tuple(np.interp(everyone, callers, rates).tolist()),
        queues=tuple(np.interp(everyone, callers, list(map(_queue, loops))).tolist()),
        spread=_spread(loops),
    )


def _queue(loop: Measurement) -> float:
    return max((step.queue_ms for step in loop.steps), default=0.0)


def _spread(loops: Sequence[Measurement]) -> float:
    """From the requests that nothing else delays: those of a single caller."""
    latency = loops[0].latency
    if latency is None or latency.p50 <= 0:
        return 0.0
    return max(0.0, math.log(latency.p99 / latency.p50) / _Z99)
