"""What the simulation of `tritonclip capacity` predicts, beside what one and two servers do.

    python -m benchmarks.studies.fleet bundles/demo          # a minute and a half

Each server has one core, so two of them have twice the cores of one. Closed loops on the first are
what the simulation is told. Then requests come at constant rates, first to one server, then twice
as many to both, every other one to each as the client deals them out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmarks import record
from tritonclip_export.bench import environment, workloads
from tritonclip_export.bench.bench import Pace, bench
from tritonclip_export.bench.measure import Protocol
from tritonclip_export.bench.results import Environment, Measurement, Report
from tritonclip_export.bundle import Bundle
from tritonclip_export.capacity.replica import Replica, replica_of
from tritonclip_export.capacity.simulation import simulate
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

RESULT = record.RESULTS / "fleet.json"
WORKLOAD = "jpeg-640x480"
CALLERS = (1, 2, 4, 8, 16)
# Of what the closed loops reached at best.
SHARES = (0.3, 0.5, 0.7, 0.85)
PROTOCOL = Protocol(warmup=1.0, seconds=4.0, repeats=1)


class Row(BaseModel):
    """One load on all servers together; milliseconds.

    Attributes:
        servers: how many.
        share: of what they answer at best.
        rate: requests a second, to all of them.
        answered: requests a second.
        generator: cores that the load generator took.
    """

    model_config = ConfigDict(frozen=True)

    servers: int
    share: float
    rate: float
    answered: float
    p50: float
    p99: float
    simulated_p50: float
    simulated_p99: float
    generator: float


class Fleet(Environment):
    """The study's results: what the simulation was told, and how it did."""

    model_config = ConfigDict(extra="ignore")

    bundle: str
    rates: dict[int, float]
    rows: tuple[Row, ...]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started meanwhile runs on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def study(bundle: Bundle) -> Fleet:
    """Measure and simulate."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = []
        for core in sorted(os.sched_getaffinity(0))[:2]:
            with pinned(core):
                # Assembled there as well, as the number of threads follows from the cores.
                repository = Path(folder) / str(core)
                assemble([bundle], repository, runtime="python")
                server = Server(repository, ports=Ports(0, 0, 0))
                servers.append(stack.enter_context(server))
        sent = workloads.named(WORKLOAD)
        paces = [Pace(callers) for callers in CALLERS]
        loops = bench(servers[0].grpc_url, sent, paces, protocol=PROTOCOL)
        replica = replica_of(loops, WORKLOAD)
        rows = [_row(servers[:count], share, replica) for count in (1, 2) for share in SHARES]
    return Fleet(
        **dict(environment.here()),
        bundle=bundle.name,
        rates={m.concurrency: m.throughput.mean for m in loops.measurements},
        rows=tuple(rows),
    )


def _row(servers: list[Server], share: float, replica: Replica) -> Row:
    each = share * replica.most

    def load(server: Server) -> Report:
        sent = workloads.named(WORKLOAD)
        return bench(server.grpc_url, sent, [Pace(64, each)], protocol=PROTOCOL)

    with ThreadPoolExecutor(len(servers)) as pool:
        found = [report.measurements[0] for report in pool.map(load, servers)]
    rate = each * len(servers)
    came = np.arange(round(60 * rate)) / rate
    simulated = simulate(replica, came, replicas=len(servers))
    return Row(
        servers=len(servers),
        share=share,
        rate=rate,
        answered=sum(m.throughput.mean for m in found),
        p50=_mean(found, "p50"),
        p99=_mean(found, "p99"),
        simulated_p50=simulated.percentile(50),
        simulated_p99=simulated.percentile(99),
        generator=sum(m.generator.cores for m in found),
    )


def _mean(found: list[Measurement], percentile: str) -> float:
    return float(np.mean([getattr(m.latency, percentile) for m in found]))


def main() -> None:
    """Write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    found = study(Bundle.load(parser.parse_args().bundle))
    RESULT.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for row in found.rows:
        print(row)


if __name__ == "__main__":
    main()
