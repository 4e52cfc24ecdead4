"""Images a second of the whole server: JPEG files in, unit vectors out, over gRPC on this machine.

The load generator shares the cores with the server; what it takes of them is written down beside.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import checkpoints
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.plan import Scale
from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import measure as bench
from tritonclip_export.bench import workloads
from tritonclip_export.bench.workers import workers
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.served.code import image_transform
from tritonclip_export.served.parameters import Preprocess
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

MODES: tuple[Preprocess, ...] = ("exact", "draft")
GENERATORS = 4


def measure(journal: Journal, scale: Scale, home: Path) -> None:
    """What a core preprocesses, then every served checkpoint in both modes, at each load."""
    photographs = workloads.named("jpeg-640x480")[0]
    for name in scale.served:
        bundle = checkpoints.wait(home, name, journal.seconds_left)
        for mode in MODES:
            alone = partial(_one_core, bundle, mode, photographs, scale)
            journal.measure(f"{name} {mode} on one core", alone)
        for mode in MODES:
            loads = {n: f"{name} {mode} {n} in flight" for n in scale.in_flight}
            if not all(map(journal.has, loads.values())):
                repository = home / "repositories" / f"{name}-{mode}"
                # One of an earlier call may be of other code.
                shutil.rmtree(repository, ignore_errors=True)
                execution = Execution(
                    precision=scale.precision, device="gpu" if scale.device == "cuda" else "cpu"
                )
                assemble(
                    [bundle], repository, runtime="python", execution=execution, preprocess=mode
                )
                _serve(repository, loads, photographs, journal, scale)


def _one_core(
    bundle: Bundle, mode: Preprocess, photographs: workloads.Workload, scale: Scale
) -> dict[str, float]:
    """Images a second through the code that runs in the server, in one thread."""
    transform = image_transform(bundle.info.image, mode=mode)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 4 * scale.seconds:
        transform.pixels(photographs.item(count))
        count += 1
    return {"per_second": count / (time.perf_counter() - began)}


def _serve(
    repository: Path,
    loads: Mapping[int, str],
    photographs: workloads.Workload,
    journal: Journal,
    scale: Scale,
) -> None:
    with (
        Server(repository, ports=Ports(0, 0, 0), start_timeout=60) as server,
        Client(server.grpc_url) as client,
    ):
        service = bench.triton_service(parse_endpoint(server.grpc_url), client.info().name)
        for in_flight, key in loads.items():
            figures = partial(_figures, service, photographs, in_flight, scale)
            journal.measure(key, figures)


def _figures(
    service: bench.Service, photographs: workloads.Workload, in_flight: int, scale: Scale
) -> dict[str, Any]:
    protocol = bench.Protocol(warmup=2 * scale.seconds, seconds=4 * scale.seconds, repeats=3)
    with workers(min(in_flight, GENERATORS)) as pool:
        measured = bench.measure(service, photographs, pool, protocol, concurrency=in_flight)
    if measured.latency is None:
        raise TimeoutError(f"no request was answered in {protocol.seconds} s")
    return {
        "per_second": measured.throughput.mean,
        "p50_ms": measured.latency.p50,
        "p99_ms": measured.latency.p99,
        "server_cores": measured.usage and measured.usage.cores,
        "generator_cores": measured.generator.cores,
        "gpu_percent": [gpu.utilization_percent for gpu in measured.gpus],
        "steps": {
            step.model.rpartition("_")[2]: [step.batch, step.queue_ms, step.infer_ms]
            for step in measured.steps
        },
        "doubts": list(measured.doubts()),
    }
