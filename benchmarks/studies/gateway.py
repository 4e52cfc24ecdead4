"""What the gateway costs: the same load sent to Triton directly and through HTTP, in turns.

    python -m benchmarks.studies.gateway bundles/ViT-B-32       # seven minutes
    python -m benchmarks.studies.gateway bundles/demo --stub --memory 200000

Requests of one item, ready-made, from one process that shares the cores with the servers. Direct
is gRPC as the client sends it; through the gateway it is JSON, pictures in base64, and the answer
has the count of tokens. What a gateway could cost at most is in the encoders' shadow: so it is
measured with a real tower, and with encoders that cost nothing (`--stub`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import record
from benchmarks.gateway_server import gateway
from benchmarks.servers import served
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import BenchmarkError

WORKLOADS = "text-short,jpeg-640x480"
_MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One way at one load; medians over the rounds."""

    way: str
    workload: str
    concurrency: int
    throughput: float
    p50_ms: float
    p99_ms: float


def compare(
    ways: Sequence[Service],
    workload: Workload,
    load: Workers,
    concurrency: int,
    *,
    rounds: int,
    seconds: float,
) -> list[Row]:
    """Each way in turns, so that what else the machine does falls on all of them."""
    protocol = Protocol(warmup=0.5, seconds=seconds, repeats=1)
    found: dict[str, list[tuple[float, float, float]]] = {way.name: [] for way in ways}
    for turn in range(rounds):
        for way in ways if turn % 2 == 0 else list(reversed(ways)):
            measured = measure(way, workload, load, protocol, concurrency=concurrency)
            if measured.latency is None or measured.failures:
                reasons = measured.failures or f"no answer within {seconds:g} s, try --seconds 10"
                raise BenchmarkError(f"{way.name}, {workload.name}, {concurrency}: {reasons}")
            latency = measured.latency
            found[way.name].append((measured.throughput.mean, latency.p50, latency.p99))
    rows = []
    for name, of_rounds in found.items():
        throughput, p50, p99 = map(median, zip(*of_rounds, strict=True))
        rows.append(
            Row(
                name, workload.name, concurrency, round(throughput, 1), round(p50, 2), round(p99, 2)
            )
        )
        print(rows[-1], flush=True)
    return rows


def memory(service: Service, process: psutil.Process, load: Workers, requests: int) -> list[float]:
    """MiB of the gateway after each tenth of so many requests."""
    (workload,) = workloads.named("text-short")
    found: list[float] = []
    done = 0.0
    while done < requests:
        measured = measure(service, workload, load, Protocol(0.0, 5.0, 1), concurrency=32)
        done += measured.throughput.mean * 5
        if done >= requests * len(found) / 10:
            found.append(round(process.memory_info().rss / _MIB, 1))
            print(f"{done:,.0f} requests: {found[-1]} MiB", flush=True)
    return found


def main() -> None:
    """Measure, and write `results/gateway.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--stub", action="store_true", help="encoders that cost nothing")
    parser.add_argument("--concurrency", default="1,8,32,64,256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    levels = [int(level) for level in arguments.concurrency.split(",")]
    rows: list[Row] = []
    taken: list[float] = []
    with (
        served(bundle, stub=arguments.stub) as server,
        gateway(server.grpc_url) as (through, process),
        workers(1) as load,
    ):
        direct = triton_service(parse_endpoint(server.grpc_url), bundle.info.name, "direct")
        for workload in workloads.named(WORKLOADS):
            for level in levels:
                rows += compare(
                    [direct, through],
                    workload,
                    load,
                    level,
                    rounds=arguments.rounds,
                    seconds=arguments.seconds,
                )
        if arguments.memory:
            taken = memory(through, process, load, arguments.memory)
    figures: dict[str, Any] = {
        "bundle": bundle.info.name,
        "stub": arguments.stub,
        "rows": [asdict(row) for row in rows],
        "memory_mib": taken,
        "memory_requests": arguments.memory,
    }
    print(record.save(f"gateway-{bundle.info.name}{'-stub' if arguments.stub else ''}", figures))


if __name__ == "__main__":
    main()
