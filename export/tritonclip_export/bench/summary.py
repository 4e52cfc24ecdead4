"""From a log of requests to throughput with its confidence interval and percentiles of latency."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from tritonclip_export.bench.load import UNSENT, Log, Timing
from tritonclip_export.bench.results import Interval, Latency, Measurement, Step, Usage

# Quantile 0.975 of Student's t by degrees of freedom, 1 to 30: for 95 % on two sides. From
# NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)

# From a microsecond to an hour, in three significant digits.
_RANGE = (1, 3_600_000_000, 3)


def interval(values: Sequence[float]) -> Interval:
    """The mean and its 95 % confidence interval, taking `values` as independent and normal.

    One value alone has no interval: its ends are None.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean=mean, low=None, high=None, repeats=tuple(values))
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = _T[min(n - 1, len(_T)) - 1] * math.sqrt(variance / n)
    return Interval(mean=mean, low=mean - half, high=mean + half, repeats=tuple(values))


def throughput(log: Log, timing: Timing, *, batch: int) -> Interval:
    """Items answered a second, a value for each repeat.

    A request counts in a repeat with the share of its time, from when it was sent to its answer,
    that lies in it. To count answers where they arrive would be as right on average and far less
    exact: those of a dynamic batch arrive together, and few batches end in a repeat.
    """
    succeeded = _succeeded(log)
    sent, done = log.sent[succeeded], log.done[succeeded]
    took = np.maximum(done - sent, 1e-9)
    found = []
    for repeat in range(timing.repeats):
        begin = timing.begin + timing.seconds * repeat
        inside = np.minimum(done, begin + timing.seconds) - np.maximum(sent, begin)
        found.append(float((np.maximum(inside, 0) / took).sum()) * batch / timing.seconds)
    return interval(found)


def latency(log: Log, timing: Timing) -> Latency | None:
    """Of the requests that were due in the measured time; None if none of them succeeded.

    One that was never sent counts with the time it had waited when the load gave up.
    """
    counted = _measured(log, timing) & (_succeeded(log) | _unsent(log))
    if not counted.any():
        return None
    return percentiles((log.done - log.due)[counted])


def percentiles(seconds: npt.NDArray[np.float64]) -> Latency:
    """Percentiles in milliseconds, from an HDR histogram that is kept with them."""
    histogram = HdrHistogram(*_RANGE)
    values, counts = np.unique(np.rint(seconds * 1e6).astype(np.int64), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(min(max(value, _RANGE[0]), _RANGE[1]), count)
    return _latency(histogram, mean=1e3 * float(seconds.mean()), most=1e3 * float(seconds.max()))


def _latency(histogram: HdrHistogram, *, mean: float, most: float) -> Latency:
    # The histogram gives the upper end of a bucket, which may lie beyond the largest value.
    p50, p90, p99, p999 = (
        min(histogram.get_value_at_percentile(q) / 1e3, most) for q in (50, 90, 99, 99.9)
    )
    return Latency(
        count=histogram.get_total_count(),
        mean=mean,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        max=most,
        histogram=histogram.encode().decode(),
    )


def lateness(log: Log, timing: Timing) -> float:
    """How late the generator itself was, at the 99th percentile, in milliseconds.

    Of the requests that found a free connection; 0 in a closed loop.
    """
    late = (log.sent - log.due)[_measured(log, timing) & ~_unsent(log)]
    return 1e3 * float(np.quantile(late, 0.99)) if len(late) else 0.0


def failures(log: Log, timing: Timing) -> dict[str, int]:
    """The commonest reasons why requests failed in the measured time, with how many they cost."""
    measured = zip(log.failures, _measured(log, timing), strict=True)
    return dict(Counter(why for why, counts in measured if why and counts).most_common(10))


def merged(rounds: Sequence[Measurement]) -> Measurement:
    """One measurement of several rounds of the same load on the same server.

    Each repeat of each round counts for the mean throughput and its interval. Histograms of latency
    are added, steps and cores averaged; memory is that of the largest round.
    """
    first = rounds[0]
    return first.model_copy(
        update={
            "throughput": interval([x for each in rounds for x in each.throughput.repeats]),
            "latency": _merged_latency([each.latency for each in rounds if each.latency]),
            "lateness_ms": max(each.lateness_ms for each in rounds),
            "failures": dict(sum((Counter(each.failures) for each in rounds), Counter())),
            "generator": _merged_usage([each.generator for each in rounds]),
            "usage": _merged_usage([each.usage for each in rounds if each.usage]),
            "steps": _merged_steps([step for each in rounds for step in each.steps]),
        }
    )


def _merged_latency(parts: Sequence[Latency]) -> Latency | None:
    if not parts:
        return None
    histogram = HdrHistogram(*_RANGE)
    for part in parts:
        histogram.decode_and_add(part.histogram)
    count = sum(part.count for part in parts)
    mean = math.fsum(part.mean * part.count for part in parts) / count
    return _latency(histogram, mean=mean, most=max(part.max for part in parts))


def _merged_usage(parts: Sequence[Usage]) -> Usage | None:
    if not parts:
        return None
    cores = math.fsum(part.cores for part in parts) / len(parts)
    return Usage(cores=cores, memory_mib=max(part.memory_mib for part in parts))


def _merged_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """A step for each model: sums of counts, means over requests of the rest."""
    merged = []
    for model in dict.fromkeys(step.model for step in steps):
        parts = [step for step in steps if step.model == model]
        requests = sum(part.requests for part in parts)
        means = {
            field: math.fsum(getattr(part, field) * part.requests for part in parts)
            / max(requests, 1)
            for field in ("batch", "total_ms", "queue_ms", "input_ms", "infer_ms", "output_ms")
        }
        hits = sum(part.cache_hits for part in parts)
        merged.append(Step(model=model, requests=requests, cache_hits=hits, **means))
    return tuple(merged)


def _measured(log: Log, timing: Timing) -> npt.NDArray[np.bool_]:
    return (log.due >= timing.begin) & (log.due < timing.end)


def _succeeded(log: Log) -> npt.NDArray[np.bool_]:
    return np.array([not failure for failure in log.failures], dtype=bool)


def _unsent(log: Log) -> npt.NDArray[np.bool_]:
    return np.array([failure == UNSENT for failure in log.failures], dtype=bool)
