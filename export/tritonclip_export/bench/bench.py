"""`bench`: a running server of ours under several loads, one after the other, as one report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import environment
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.results import Report
from tritonclip_export.bench.workers import workers
from tritonclip_export.bench.workloads import Workload


@dataclass(frozen=True)
class Pace:
    """How requests follow each other.

    Attributes:
        concurrency: callers of a closed loop, each waiting for its answer; with a rate, the most
            requests in flight.
        rate: requests a second, whatever the server does; None for a closed loop.
    """

    concurrency: int
    rate: float | None = None


def bench(
    url: str,
    workloads: Sequence[Workload],
    paces: Sequence[Pace],
    *,
    model: str | None = None,
    protocol: Protocol = Protocol(),  # noqa: B008 (immutable)
    processes: int = 1,
    batch: int = 1,
    show: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Measure a server under every workload at every pace.

    Args:
        url: of the server.
        workloads: what it is asked.
        paces: how fast.
        model: the bundle's name; None where the server has only one.
        protocol: for how long.
        processes: that make the load.
        batch: items in a request.
        show: given what there is after each measurement.

    Raises:
        BenchmarkError: the server does not answer such a request, or has gone.
        InvalidArgument: there are fewer callers than processes, or no rate to speak of.
        TritonClipError: the server cannot be reached, or does not serve the model.
    """
    with Client(url, model=model) as client:
        info, health = client.info(), client.health()
    service = triton_service(parse_endpoint(url), info.name)
    began = environment.here(triton=health.server_version or "unknown")
    report = Report(
        **dict(began),
        about={
            "model": info.name,
            "source": info.source,
            "precision": info.precision,
            "runtime": info.runtime,
            "preprocess": info.preprocess,
        },
        measurements=(),
    )
    with workers(processes) as pool:
        for workload, pace in itertools.product(workloads, paces):
            measured = measure(
                service,
                workload,
                pool,
                protocol,
                concurrency=pace.concurrency,
                rate=pace.rate,
                batch=batch,
            )
            report = report.model_copy(update={"measurements": (*report.measurements, measured)})
            show(report)
    return report
