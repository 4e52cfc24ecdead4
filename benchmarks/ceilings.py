"""What the load generator, the client and the server's own path could do at most.

A real server with encoders that cost nothing: each answers with constants. Three figures matter:
requests a second of generator CPU (so that one knows how many processes a load needs), items a
second of client CPU (so that one knows what one core of an application can feed), and items a
second through preprocessing or tokenizing and the ensemble (what the server could feed a GPU).
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import record
from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.workers import workers
from tritonclip_export.bundle import Bundle
from tritonclip_export.ports import Ports
from tritonclip_export.repository import assemble
from tritonclip_export.server import Server

WORKLOADS = "jpeg-224x224,jpeg-640x480,text-short"
STUB = Path(__file__).with_name("stub_encoder.py")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure")
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    protocol = Protocol(warmup=options.seconds / 4, seconds=options.seconds, repeats=3)
    figures: dict[str, dict[str, float]] = {}
    with _stubbed(bundle) as url, workers(1) as pool, Client(url, batch_size=16) as client:
        service = triton_service(parse_endpoint(url), bundle.name)
        for workload in workloads.named(WORKLOADS):
            found = measure(service, workload, pool, protocol, concurrency=options.concurrency)
            rate = found.throughput.mean
            figures[workload.name] = {
                "served_per_second": rate,
                "requests_per_second_of_generator_cpu": rate / found.generator.cores,
                **_client(client, workload, options.seconds),
            }
            print(workload.name, figures[workload.name], flush=True)
    print(record.save("ceilings", {"concurrency": options.concurrency, **figures}))


@contextmanager
def _stubbed(bundle: Bundle) -> Iterator[str]:
    """A server of the bundle whose encoders are stubs."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        assemble([bundle], repository, runtime="python")
        for encoder in repository.glob("*_encoder"):
            shutil.copy(STUB, encoder / "1" / "model.py")
        with Server(repository, ports=Ports(0, 0, 0)) as server:
            yield server.grpc_url


def _client(client: Client, workload: workloads.Workload, seconds: float) -> dict[str, float]:
    """Streaming through the client: items a second, of time and of this process's CPU time."""
    end = time.monotonic() + seconds
    numbers = itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(1_000_000))
    inputs = (workload.item(number) for number in numbers)
    if workload.kind == "image":
        vectors = client.stream_images(inputs)
    else:
        vectors = client.stream_texts(item.decode() for item in inputs)
    began, cpu, count = time.monotonic(), time.process_time(), 0
    for _ in vectors:
        count += 1
    return {
        "client_per_second": count / (time.monotonic() - began),
        "client_per_second_of_cpu": count / (time.process_time() - cpu),
    }


if __name__ == "__main__":
    main()
