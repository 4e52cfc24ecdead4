"""CPU time of a request: in the encoder, before it, around it, and for the same work in process.

    python benchmarks/cpu_time.py bundles/ViT-B-32 --precisions fp32,int8     # two minutes

What bounds throughput where the cores are the limit. A server is loaded with requests of one item;
Triton's processes are told apart: the stub of the encoder, that of the model before it, and
tritonserver itself, which receives, schedules and answers. The same library does the same work in
this process, in batches as large as dynamic batching made them and as large as they could be.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

import record
from peers import in_process
from servers import served
from studies import About, CpuRow, CpuTime
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import triton, workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.usage import family
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.encoder_models import Execution
from tritonclip_export.errors import BenchmarkError

RESULT = record.RESULTS / "cpu-time.json"
WARM_UP = Protocol(0.0, 2.0, 1)
BEFORE = {"image": "_preprocess", "text": "_tokenize"}
TRITONSERVER = "tritonserver"


@dataclass(frozen=True)
class Subject:
    """A bundle that is served, and who asks."""

    engine: in_process.Engine
    bundle: Bundle
    service: Service
    pool: Workers
    seconds: float


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precisions", default="fp32", help="in ONNX Runtime")
    parser.add_argument("--openvino", default="", help="precisions in OpenVINO")
    parser.add_argument("--workloads", default="jpeg-640x480,text-short")
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    loads = [int(number) for number in options.concurrency.split(",")]
    about = About.here(bundle.info.source.reference, "")
    rows: list[CpuRow] = []
    with workers(1) as pool:
        for engine in in_process.engines(options.precisions, options.openvino):
            execution = Execution(precision=engine.precision)
            with served(bundle, execution, engine.runtime) as server:
                service = triton_service(parse_endpoint(server.grpc_url), bundle.name)
                subject = Subject(engine, bundle, service, pool, options.seconds)
                for workload in workloads.named(options.workloads):
                    rows += _rows(subject, workload, loads)
    print(CpuTime(about=about, rows=tuple(rows)).save(options.result))


def _rows(subject: Subject, workload: Workload, loads: list[int]) -> Iterator[CpuRow]:
    embed = in_process.embedder(subject.engine, subject.bundle, workload.kind, spinning=False)
    for load in loads:
        row = _served(subject, workload, load)
        formed = max(1, round(row.batch))
        row = row.model_copy(
            update={
                "in_process_ms": _in_process(embed, workload, formed, subject.seconds / 2),
                "in_process_full_ms": _in_process(embed, workload, load, subject.seconds / 2),
            }
        )
        print(row, flush=True)
        yield row


def _served(subject: Subject, workload: Workload, load: int) -> CpuRow:
    service, pool = subject.service, subject.pool
    if service.pid is None or service.statistics is None:
        raise BenchmarkError("the server's process cannot be found, so its CPU time is unknown")
    measure(service, workload, pool, WARM_UP, concurrency=load)
    counted = service.statistics()
    used_before, asked_before = _server_seconds(service.pid), _seconds(pool.pids)
    found = measure(service, workload, pool, Protocol(0.0, subject.seconds, 1), concurrency=load)
    # Both cover every request, those too that ended after the measured time.
    steps = {step.model: step for step in triton.steps(counted, service.statistics())}
    used_after = _server_seconds(service.pid)
    asked = _seconds(pool.pids) - asked_before
    model = f"{subject.bundle.name}_{workload.kind}"
    each = 1e3 / steps[model].requests
    used = {name: each * (used_after[name] - used_before[name]) for name in used_before}
    return CpuRow(
        engine=f"{subject.engine.library} {subject.engine.precision}",
        workload=workload.name,
        concurrency=load,
        throughput=found.throughput.mean,
        batch=steps[f"{model}_encoder"].batch,
        encoder_ms=used[f"{model}_encoder"],
        before_ms=used[model + BEFORE[workload.kind]],
        tritonserver_ms=used[TRITONSERVER],
        generator_ms=asked * each,
        in_process_ms=0.0,
        in_process_full_ms=0.0,
    )


def _server_seconds(pid: int) -> dict[str, float]:
    """CPU time so far of each model, by its name, and of tritonserver itself."""
    found: defaultdict[str, float] = defaultdict(float)
    for process in map(psutil.Process, family([pid])):
        # A stub is started with the path of its model: .../NAME/VERSION/model.py.
        files = [Path(part) for part in process.cmdline() if part.endswith("/model.py")]
        name = files[0].parent.parent.name if files else TRITONSERVER
        found[name] += _cpu_seconds(process)
    return found


def _seconds(pids: list[int]) -> float:
    return math.fsum(_cpu_seconds(psutil.Process(pid)) for pid in pids)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _in_process(embed: in_process.Embed, workload: Workload, batch: int, seconds: float) -> float:
    """CPU time of an item in milliseconds, all threads of this process."""
    embed([workload.item(number) for number in range(batch)])
    end, began, done = time.monotonic() + seconds, time.process_time(), 0
    while time.monotonic() < end:
        embed([workload.item(done + number) for number in range(batch)])
        done += batch
    return 1e3 * (time.process_time() - began) / done


if __name__ == "__main__":
    main()
