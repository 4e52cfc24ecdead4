"""CPU time of a request: in the encoder, before it, around it, and for the same work in process.

    python -m benchmarks.studies.cpu_time bundles/ViT-B-32 --precisions fp32,int8     # two minutes

What bounds throughput where the cores are the limit. A server is loaded with requests of one item;
Triton's processes are told apart: the stub of the encoder, that of the model before it, and
tritonserver itself, which receives, schedules and answers. The same library does the same work in
this process, in batches as large as dynamic batching made them and as large as they could be.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from benchmarks import record
from benchmarks.peers import in_process
from benchmarks.servers import served
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import environment, triton, workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.results import Environment
from tritonclip_export.bench.usage import cpu_seconds
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.repository.execution import Execution

RESULT = record.RESULTS / "cpu-time.json"
WARM_UP = Protocol(0.0, 2.0, 1)
BEFORE = {"image": "_preprocess", "text": "_tokenize"}
TRITONSERVER, GENERATOR = "tritonserver", "generator"


class About(Environment):
    """When, where and with what checkpoint it was measured."""

    model_config = ConfigDict(extra="ignore")

    source: str


class CpuRow(BaseModel):
    """CPU time a request of one item, in milliseconds, under one load.

    Attributes:
        engine: library and precision of the encoder.
        throughput: items a second.
        batch: mean size of the batches that dynamic batching made.
        encoder_ms: of the encoder's process.
        before_ms: of the process that decodes and resizes, or tokenizes.
        tritonserver_ms: of the server itself.
        generator_ms: of who asks.
        in_process_ms: all of an item's work in one process, in batches of that mean size.
        in_process_full_ms: likewise, in batches of all that are in flight.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    workload: str
    concurrency: int
    throughput: float
    batch: float
    encoder_ms: float
    before_ms: float
    tritonserver_ms: float
    generator_ms: float
    in_process_ms: float
    in_process_full_ms: float

    @property
    def total_ms(self) -> float:
        """Of all that takes part in serving it."""
        return self.encoder_ms + self.before_ms + self.tritonserver_ms + self.generator_ms


class CpuTime(BaseModel):
    """The result file."""

    model_config = ConfigDict(frozen=True)

    about: About
    rows: tuple[CpuRow, ...]


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
    about = About(**dict(environment.here()), source=bundle.info.source.reference)
    rows: list[CpuRow] = []
    with workers(1) as pool:
        for engine in in_process.engines(options.precisions, options.openvino):
            execution = Execution(precision=engine.precision)
            with served(bundle, execution, engine.runtime) as server:
                service = triton_service(parse_endpoint(server.grpc_url), bundle.name)
                subject = Subject(engine, bundle, service, pool, options.seconds)
                for workload in workloads.named(options.workloads):
                    rows += _rows(subject, workload, loads)
    study = CpuTime(about=about, rows=tuple(rows))
    options.result.write_text(study.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(options.result)


def _rows(subject: Subject, workload: Workload, loads: list[int]) -> Iterator[CpuRow]:
    embed = in_process.embedder(subject.engine, subject.bundle, workload.kind, spinning=False)
    for load in loads:
        row = _row(subject, embed, workload, load)
        print(row, flush=True)
        yield row


def _row(subject: Subject, embed: in_process.Embed, workload: Workload, load: int) -> CpuRow:
    service, pool = subject.service, subject.pool
    if service.pid is None or service.statistics is None:
        raise BenchmarkError("the server's process cannot be found, so its CPU time is unknown")
    measure(service, workload, pool, WARM_UP, concurrency=load)
    counted = service.statistics()
    before = seconds_by_model(service.pid, pool)
    found = measure(service, workload, pool, Protocol(0.0, subject.seconds, 1), concurrency=load)
    # Both cover every request, those too that ended after the measured time.
    steps = {step.model: step for step in triton.steps(counted, service.statistics())}
    after = seconds_by_model(service.pid, pool)
    model = f"{subject.bundle.name}_{workload.kind}"
    used = {name: 1e3 * (after[name] - before[name]) / steps[model].requests for name in before}
    batch = steps[f"{model}_encoder"].batch
    formed = max(1, round(batch))
    protocol = Protocol(0.0, subject.seconds / 2, 1)
    alone = {}
    for size in {formed, load}:
        whole = in_process.measure(subject.engine, embed, workload, protocol, batch=size)
        alone[size] = 1e3 * whole.generator.cores / whole.throughput.mean
    return CpuRow(
        engine=f"{subject.engine.library} {subject.engine.precision}",
        workload=workload.name,
        concurrency=load,
        throughput=found.throughput.mean,
        batch=batch,
        encoder_ms=used[f"{model}_encoder"],
        before_ms=used[model + BEFORE[workload.kind]],
        tritonserver_ms=used[TRITONSERVER],
        generator_ms=used[GENERATOR],
        in_process_ms=alone[formed],
        in_process_full_ms=alone[load],
    )


def seconds_by_model(server: int, pool: Workers) -> dict[str, float]:
    """CPU time so far of each model, by its name, of tritonserver itself and of the generator."""
    found = {GENERATOR: math.fsum(cpu_seconds(pool.pids).values()), TRITONSERVER: 0.0}
    for pid, seconds in cpu_seconds([server]).items():
        # A stub is started with the path of its model: .../NAME/VERSION/model.py.
        words = psutil.Process(pid).cmdline()
        files = [Path(word) for word in words if word.endswith("/model.py")]
        name = files[0].parent.parent.name if files else TRITONSERVER
        found[name] = found.get(name, 0.0) + seconds
    return found


if __name__ == "__main__":
    main()
