"""Reports of `bench`, written down instead of measured."""

from __future__ import annotations

from collections.abc import Mapping

from tritonclip_export.bench.results import (
    Interval,
    Latency,
    Machine,
    Measurement,
    Report,
    Step,
    Usage,
)


def closed_loops(rates: Mapping[int, float], queues: Mapping[int, float] | None = None) -> Report:
    """A report with so many answers a second by callers, and milliseconds in the encoder's queue.

    The 99th percentile of a single caller is twice its median.
    """
    machine = Machine(cpu="a CPU", cores=2, features=(), memory_gib=8, gpus=(), system="Linux")
    return Report(
        date="2026-11-28T00:00:00",
        machine=machine,
        versions={},
        about={},
        measurements=tuple(
            _loop(callers, rate, (queues or {}).get(callers, 0.0))
            for callers, rate in rates.items()
        ),
    )


def _loop(callers: int, rate: float, queue: float) -> Measurement:
    took = 1e3 * callers / rate
    return Measurement(
        server="tritonclip",
        workload="jpeg-640x480",
        protocol="grpc",
        concurrency=callers,
        rate=None,
        batch=1,
        processes=1,
        seconds=10,
        throughput=Interval(mean=rate, low=None, high=None, repeats=(rate,)),
        latency=Latency(
            count=1000,
            mean=took,
            p50=took,
            p90=1.5 * took,
            p99=2 * took,
            p999=3 * took,
            max=4 * took,
            histogram="",
        ),
        lateness_ms=0,
        failures={},
        generator=Usage(cores=0.1, memory_mib=50),
        usage=None,
        steps=(
            Step(
                model="demo_image_encoder",
                requests=1000,
                batch=1,
                total_ms=took,
                queue_ms=queue,
                input_ms=0,
                infer_ms=took - queue,
                output_ms=0,
                cache_hits=0,
            ),
        ),
    )
