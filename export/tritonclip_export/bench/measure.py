"""One load on one server, measured from all sides."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tritonclip.endpoint import Endpoint
from tritonclip.errors import InvalidArgument
from tritonclip_export.bench import summary, triton
from tritonclip_export.bench.load import Timing
from tritonclip_export.bench.results import GpuUsage, Measurement, Step, Usage
from tritonclip_export.bench.sending import Request, RequestFailed, Target, senders
from tritonclip_export.bench.usage import Meter, gpu_usage, server_process
from tritonclip_export.bench.workers import TIMEOUT_SECONDS, Load, Workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.errors import BenchmarkError

# Between asking the workers and their first request: for connections, and inputs to be made.
_LEAD_SECONDS = 0.3


@dataclass(frozen=True)
class Protocol:
    """How long is measured: seconds of warm-up, of each repeat, and the number of repeats."""

    warmup: float = 3.0
    seconds: float = 10.0
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.seconds <= 0 or self.repeats < 1:
            raise InvalidArgument(f"cannot measure {self}: seconds and repeats must be positive")


@dataclass(frozen=True)
class Service:
    """A running server, and how one asks it.

    Attributes:
        name: for the report.
        target: where the requests of a workload go.
        requests: gives a workload's request by its number, `batch` items in each; picklable.
        pid: its process; None if it is not on this machine.
        statistics: Triton's counters, of a server that has them.
    """

    name: str
    target: Callable[[Workload], Target]
    requests: Callable[[Workload, int], Callable[[int], Request]]
    pid: int | None = None
    statistics: Callable[[], triton.Statistics] | None = None


def triton_service(endpoint: Endpoint, bundle: str, name: str = "tritonclip") -> Service:
    """A server of ours."""
    return Service(
        name=name,
        target=lambda workload: triton.target(endpoint, bundle, workload.kind),
        requests=lambda workload, batch: triton.Requests(endpoint, bundle, workload, batch),
        pid=server_process(endpoint),
        statistics=lambda: triton.statistics(endpoint),
    )


def check(service: Service, workload: Workload, *, batch: int) -> bytes:
    """Send one request and give its answer.

    Raises:
        BenchmarkError: it fails; a load of such requests would measure nothing.
    """
    with senders(service.target(workload), 1, timeout=TIMEOUT_SECONDS) as (send,):
        try:
            # Loads count from 0, and would find the answer to this in the response cache.
            return send(service.requests(workload, batch)(-1))
        except RequestFailed as error:
            raise BenchmarkError(f"{service.name} does not answer {workload.name}: {error}") from (
                error
            )


def measure(
    service: Service,
    workload: Workload,
    workers: Workers,
    protocol: Protocol,
    *,
    concurrency: int,
    rate: float | None = None,
    batch: int = 1,
) -> Measurement:
    """Load a server and measure it.

    Args:
        service: the server.
        workload: what it is asked.
        workers: the processes that ask.
        protocol: for how long.
        concurrency: callers that wait for an answer before they ask again; with a rate, the most
            requests in flight.
        rate: requests a second, whatever the server does; None for a closed loop.
        batch: items in a request.

    Raises:
        InvalidArgument: there are fewer callers than processes, or no rate to speak of.
        BenchmarkError: the server does not answer such a request, or has gone.
    """
    if concurrency < workers.count or batch < 1 or (rate is not None and rate <= 0):
        raise InvalidArgument(
            f"cannot load with concurrency {concurrency} from {workers.count} processes, batch "
            f"{batch}, rate {rate}: each process needs a caller, the others must be positive"
        )
    check(service, workload, batch=batch)
    load = Load(service.target(workload), service.requests(workload, batch), concurrency, rate)
    timing = Timing(
        time.monotonic() + _LEAD_SECONDS, protocol.warmup, protocol.seconds, protocol.repeats
    )
    jobs = workers.start(load, timing)
    seen = _watch(service, workers, timing)
    log = workers.finish(jobs)
    return Measurement(
        server=service.name,
        workload=workload.name,
        protocol=load.target.endpoint.protocol,
        concurrency=concurrency,
        rate=rate,
        batch=batch,
        processes=workers.count,
        seconds=protocol.seconds,
        throughput=summary.throughput(log, timing, batch=batch),
        latency=summary.latency(log, timing),
        lateness_ms=summary.lateness(log, timing),
        failures=summary.failures(log, timing),
        generator=seen.generator,
        usage=seen.server,
        gpus=seen.gpus,
        steps=seen.steps,
    )


@dataclass(frozen=True)
class _Seen:
    """What was seen of the processes, the GPUs and the server's own counters."""

    generator: Usage
    server: Usage | None
    gpus: tuple[GpuUsage, ...]
    steps: tuple[Step, ...]


def _watch(service: Service, workers: Workers, timing: Timing) -> _Seen:
    """Look on from the beginning of what is measured to its end."""
    time.sleep(max(0.0, timing.begin - time.monotonic()))
    counters = service.statistics or dict
    with gpu_usage() as gpus:
        before = counters()
        generator = Meter(workers.pids)
        server = Meter([service.pid]) if service.pid is not None else None
        while (left := timing.end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            if server is not None:
                server.look()
        generated = generator.read()
        used = server.read() if server is not None else None
        after = counters()
    return _Seen(generated, used, tuple(gpus), triton.steps(before, after))
