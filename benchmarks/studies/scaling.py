"""How rates, latency and memory grow: with callers, batches, sizes, lengths, bundles and cores.

    python -m benchmarks.studies.scaling bundles/ViT-B-32 --precision int8

One thing grows at a time. A power of it is fitted to each figure, from where all cores are busy on:
an exponent of 0 is no growth, of 1 growth in proportion. The load generator shares the machine.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import record
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.sending import Request
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Kind, Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

CALLERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ITEMS = (1, 2, 4, 8, 16, 32, 64)
SIDES = (224, 448, 896, 1792, 4000)
CLAUSES = (1, 2, 4, 8, 16, 32, 64)
BUNDLES = (1, 4, 16)
BUSY = 8
"""Requests in flight where something else grows."""
PROTOCOL = Protocol(warmup=1.0, seconds=2.0, repeats=3)
FIGURES = ("rate", "p50_ms", "memory_mib")


@dataclass(frozen=True)
class Point:
    """One load."""

    axis: str
    kind: Kind
    value: int
    rate: float
    """Items a second."""
    rate_half: float
    p50_ms: float
    p99_ms: float
    memory_mib: float
    cores: float
    start_s: float
    """From the start of the server until it was ready."""


@dataclass(frozen=True)
class Fit:
    """A figure grows with this power of what grows, within ± half in 95 of 100 cases."""

    axis: str
    kind: Kind
    figure: str
    since: int
    exponent: float
    half: float


@dataclass(frozen=True)
class Axis:
    """What grows."""

    name: str
    kinds: tuple[Kind, ...]
    values: Sequence[int]
    since: int
    """From where on a power is fitted."""
    workload: Callable[[Kind, int], Workload]
    load: Callable[[int], dict[str, int]]


@functools.cache  # whatever grows, the photographs are the same
def usual(kind: Kind) -> Workload:
    """Captions, and photographs of the size that a tower takes, so that encoding is most of it."""
    (workload,) = workloads.named("text-short" if kind == "text" else "jpeg-224x224")
    return workload


def photographs(folder: Path, _: Kind, side: int) -> Workload:
    """Photographs of 4:3, this wide."""
    files = []
    for number, encoded in enumerate(workloads.photographs(side, side * 3 // 4, "JPEG", 3)):
        files.append(folder / f"{side}-{number}.jpg")
        files[-1].write_bytes(encoded)
    return workloads.of_files(files)


def texts(_: Kind, clauses: int) -> Workload:
    """Texts of eight words a clause."""
    about = f"{clauses} clauses"
    return Workload(about, "text", about, functools.partial(workloads.text, clauses=clauses))


def axes(folder: Path) -> Iterator[Axis]:
    """What grows on one server."""
    both: tuple[Kind, ...] = ("text", "image")

    def same(kind: Kind, _: int) -> Workload:
        return usual(kind)

    yield Axis("requests in flight", both, CALLERS, 16, same, lambda n: {"concurrency": n})
    yield Axis("items in a request", both, ITEMS, 1, same, lambda n: {"concurrency": 1, "batch": n})
    busy = {"concurrency": BUSY}
    yield Axis(
        *("pixels across", ("image",), SIDES, SIDES[1]),
        functools.partial(photographs, folder),
        lambda _: busy,
    )
    yield Axis("clauses of eight words", ("text",), CLAUSES, 1, texts, lambda _: busy)


@dataclass(frozen=True)
class InTurns:
    """Requests to several bundles, one after the other."""

    each: tuple[Callable[[int], Request], ...]

    def __call__(self, number: int) -> Request:
        """The request with this number."""
        turn, which = divmod(number, len(self.each))
        return self.each[which](turn)


@contextmanager
def served(
    bundles: Sequence[Bundle], execution: Execution, cores: Sequence[int] | None = None
) -> Iterator[tuple[Server, float]]:
    """A server of several bundles, on some cores alone, and the seconds it took to get ready."""
    process = psutil.Process()
    allowed = process.cpu_affinity()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        assemble(bundles, repository, runtime="python", execution=execution)
        began = time.monotonic()
        try:
            process.cpu_affinity(list(cores or allowed))  # handed down
            server = Server(repository, ports=Ports(0, 0, 0), start_timeout=300)
            server.start()
        finally:
            process.cpu_affinity(allowed)
        try:
            yield server, time.monotonic() - began
        finally:
            server.stop()


def point(
    axis: str,
    value: int,
    service: Service,
    workload: Workload,
    pool: Workers,
    start_s: float,
    **load: int,
) -> Point:
    """Load it and say what came."""
    found = measure(service, workload, pool, PROTOCOL, **load)
    assert found.failures == {}
    assert found.latency is not None
    assert found.usage is not None
    made = Point(
        axis=axis,
        kind=workload.kind,
        value=value,
        rate=found.throughput.mean,
        rate_half=found.throughput.half or 0.0,
        p50_ms=found.latency.p50,
        p99_ms=found.latency.p99,
        memory_mib=found.usage.memory_mib,
        cores=found.usage.cores,
        start_s=start_s,
    )
    print(made, flush=True)
    return made


def on_one_server(bundle: Bundle, execution: Execution, pool: Workers) -> Iterator[Point]:
    """Everything that grows on one server of one bundle."""
    with served([bundle], execution) as (server, start_s), tempfile.TemporaryDirectory() as home:
        service = triton_service(parse_endpoint(server.grpc_url), bundle.name)
        for axis in axes(Path(home)):
            for kind in axis.kinds:
                for value in axis.values:
                    workload, load = axis.workload(kind, value), axis.load(value)
                    yield point(axis.name, value, service, workload, pool, start_s, **load)


def of_bundles(bundle: Bundle, execution: Execution, pool: Workers) -> Iterator[Point]:
    """Copies of it on one server: one is asked, then all in turns."""
    with tempfile.TemporaryDirectory() as home:
        copies = [_copy(bundle, Path(home) / f"copy{n}") for n in range(max(BUNDLES))]
        for count in BUNDLES:
            with served(copies[:count], execution) as (server, start_s):
                endpoint = parse_endpoint(server.grpc_url)
                services = [triton_service(endpoint, one.name) for one in copies[:count]]
                loads = {"bundles, one asked": services[0], "bundles, all asked": _all(services)}
                for axis, service in loads.items():
                    for kind in ("text", "image"):
                        load = usual(kind)
                        yield point(axis, count, service, load, pool, start_s, concurrency=BUSY)


def _copy(bundle: Bundle, folder: Path) -> Bundle:
    shutil.copytree(bundle.path, folder)
    copy = Bundle(path=folder, info=bundle.info.model_copy(update={"name": folder.name}))
    copy.save()
    return copy


def _all(services: Sequence[Service]) -> Service:
    first = services[0]

    def requests(workload: Workload, batch: int) -> Callable[[int], Request]:
        return InTurns(tuple(service.requests(workload, batch) for service in services))

    return Service("all", first.target, requests, first.pid, first.statistics)


def of_cores(bundle: Bundle, execution: Execution, pool: Workers) -> Iterator[Point]:
    """The same server on one core, then on two, ...; the generator is on all of them."""
    cores = psutil.Process().cpu_affinity()
    for count in range(1, len(cores) + 1):
        with served([bundle], execution, cores[:count]) as (server, start_s):
            service = triton_service(parse_endpoint(server.grpc_url), bundle.name)
            for kind in ("text", "image"):
                load = usual(kind)
                yield point("cores", count, service, load, pool, start_s, concurrency=BUSY)


def fits(points: Sequence[Point]) -> Iterator[Fit]:
    """Powers by least squares of the logarithms."""
    since = {axis.name: axis.since for axis in axes(Path())}
    series = dict.fromkeys((one.axis, one.kind) for one in points)
    for axis, kind in series:
        from_ = since.get(axis, 1)
        of = [p for p in points if (p.axis, p.kind) == (axis, kind) and p.value >= from_]
        if len(of) < 3:
            continue
        for figure in FIGURES:
            exponent, half = _power([p.value for p in of], [getattr(p, figure) for p in of])
            yield Fit(axis, kind, figure, from_, exponent, half)


def _power(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    from scipy.stats import linregress, t

    line = linregress(np.log(x), np.log(y))
    return round(line.slope, 3), round(float(t.ppf(0.975, len(x) - 2)) * line.stderr, 3)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="int8")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    execution = Execution(precision=options.precision)
    points: list[Point] = []
    with workers(1) as pool:
        for part in (on_one_server, of_bundles, of_cores):
            points += part(bundle, execution, pool)
    figures: dict[str, Any] = {
        "bundle": bundle.name,
        "precision": options.precision,
        "points": [asdict(one) for one in points],
        "fits": [asdict(one) for one in fits(points)],
    }
    record.report("scaling", figures)


if __name__ == "__main__":
    main()
