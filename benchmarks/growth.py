"""How throughput and memory grow: images streamed, encoder instances, label sets.

    python benchmarks/growth.py bundles/ViT-B-32             # seven minutes on two cores
    python benchmarks/growth.py bundles/ViT-B-32 --quick     # one minute: sizes a tenth as large

Streams go through `Client.stream_images`: a thousand 640 x 480 JPEGs to the bundle's own encoder,
then a thousand, ten thousand and a hundred thousand 224 x 224 ones to a stub that costs nothing, so
that what is measured is what happens around it. Instances run the bundle's own encoder, the cores
shared out among them. Label sets go to the served zero-shot model in turn, again with stubs. Each
row says whether it lies on a straight line, or why not.
"""

from __future__ import annotations

import argparse
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import growth_verdicts
import record
from label_requests import labels, zero_shot_request
from servers import served
from studies import About, Growth, Instances, LabelSets, Stream
from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import summary, triton, usage, workloads
from tritonclip_export.bench.load import Timing, closed_loop
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.sending import Request, senders
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.repository.execution import Execution

RESULT = record.RESULTS / "growth.json"
REAL, STUBBED = 1_000, (1_000, 10_000, 100_000)
INSTANCES = (1, 2, 4, 8, 16)
LABEL_SETS = (1, 4, 16, 64)
LABELS = 1_000
CONCURRENCY = 32
# Two windows of the client's: what both sides allocate once, as connections and arenas.
_WARM_UP_IMAGES = 256
_MIB = 2**20

AnyRow = TypeVar("AnyRow")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=float, default=6.0, help="of load on each server")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images and sets")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    execution = Execution(precision=cast(Precision, options.precision))
    part, seconds = (10, options.seconds / 3) if options.quick else (1, options.seconds)
    about = About.here(bundle.info.source.reference, options.precision)
    streams, instances = [], list[Instances]()
    with served(bundle, execution) as server:
        streams.append(_told(_stream(server.grpc_url, "jpeg-640x480", "own", REAL // part)))
    with served(bundle, execution, stub=True) as server:
        for count in STUBBED:
            streams.append(_told(_stream(server.grpc_url, "jpeg-224x224", "stub", count // part)))
    label_sets = _label_sets(bundle, max(LABEL_SETS) // part, seconds)
    with workers(1) as pool:
        for count in INSTANCES:
            instances.append(_told(_instances(bundle, options.precision, count, pool, seconds)))
    study = Growth(
        about=about,
        streams=tuple(growth_verdicts.streams(streams)),
        instances=tuple(growth_verdicts.instances(instances, about.machine.cores)),
        label_sets=tuple(growth_verdicts.label_sets(label_sets)),
    )
    print(study.save(options.result))


def _stream(url: str, workload: str, encoder: str, count: int) -> Stream:
    images = workloads.WORKLOADS[workload](workload)
    server = _server(url)
    with Client(url, batch_size=16, concurrency=8) as client, _peaks(server) as peaks:
        for _ in client.stream_images(map(images.item, range(_WARM_UP_IMAGES))):
            pass
        marks, memory = [time.monotonic()], [_memory(server)]
        for number, _ in enumerate(client.stream_images(map(images.item, range(count))), 1):
            if number % (count // 10) == 0:
                marks.append(time.monotonic())
                memory.append(_memory(server))
    return Stream(
        encoder=encoder,
        images=count,
        seconds=marks[-1] - marks[0],
        tenths=tuple(count / 10 / (b - a) for a, b in itertools.pairwise(marks)),
        client_mib=tuple(client for client, _ in memory),
        server_mib=tuple(server for _, server in memory),
        client_peak_mib=peaks[0],
        server_peak_mib=peaks[1],
        verdict="",
    )


def _instances(
    bundle: Bundle, precision: Precision, count: int, pool: Workers, seconds: float
) -> Instances:
    threads = max(1, (os.cpu_count() or 1) // count)
    execution = Execution(precision=precision, instances=count, threads=threads)
    began = time.monotonic()
    with served(bundle, execution) as server:
        started = time.monotonic() - began
        service = triton_service(parse_endpoint(server.grpc_url), bundle.name)
        images = workloads.WORKLOADS["jpeg-640x480"]("jpeg-640x480")
        protocol = Protocol(seconds / 2, seconds / 3, 3)
        found = measure(service, images, pool, protocol, concurrency=CONCURRENCY)
    if found.usage is None:
        raise BenchmarkError("the server's process cannot be found, so its memory is unknown")
    return Instances(
        instances=count,
        threads=threads,
        start_seconds=started,
        throughput=found.throughput,
        cores=found.usage.cores,
        memory_mib=found.usage.memory_mib,
        verdict="",
    )


def _label_sets(bundle: Bundle, most: int, seconds: float) -> list[LabelSets]:
    images = workloads.WORKLOADS["jpeg-224x224"]("jpeg-224x224")
    rows = []
    with served(bundle, stub=True) as server:
        endpoint = parse_endpoint(server.grpc_url)
        target = triton.target(endpoint, bundle.name, "image")
        with senders(target, CONCURRENCY, timeout=60.0) as sends:
            asked = list[Request]()
            for count in [count for count in LABEL_SETS if count <= most]:
                began = time.monotonic()
                for number in range(len(asked), count):
                    request = zero_shot_request(
                        bundle.name, images.item(number), labels(LABELS, number)
                    )
                    sends[0](request)
                    asked.append(request)
                first = time.monotonic() - began
                timing = Timing(time.monotonic(), seconds / 4, seconds / 3, 3)
                turns = itertools.cycle(asked)
                with _peaks(_server(server.grpc_url)) as peaks:
                    log = closed_loop(sends, _locked(turns), timing)
                if failed := next((why for why in log.failures if why), ""):
                    raise BenchmarkError(f"{count} label sets: {failed}")
                row = LabelSets(
                    sets=count,
                    labels=LABELS,
                    first_seconds=first,
                    throughput=summary.throughput(log, timing, batch=1),
                    memory_mib=peaks[1],
                    verdict="",
                )
                rows.append(_told(row))
    return rows


def _locked(turns: Iterator[Request]) -> Callable[[], Request]:
    lock = threading.Lock()

    def make() -> Request:
        with lock:
            return next(turns)

    return make


def _server(url: str) -> int:
    if (pid := usage.server_process(parse_endpoint(url))) is None:
        raise BenchmarkError("the server's process cannot be found, so its memory is unknown")
    return pid


def _memory(server: int) -> list[float]:
    """MiB of this process, without the server that it has started, and of the server."""
    return [usage.memory([os.getpid()]) / _MIB, usage.memory(usage.family([server])) / _MIB]


@contextmanager
def _peaks(server: int) -> Iterator[list[float]]:
    """The most memory of this process and of the server, in MiB, until the block ends."""
    peaks, done = _memory(server), threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peaks[:] = map(max, peaks, _memory(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def _told(row: AnyRow) -> AnyRow:
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
