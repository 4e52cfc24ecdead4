"""What the load generator, the client and the server's own path could do at most.

A real server with encoders that cost nothing: each answers with constants. Three figures matter:
requests a second of generator CPU (so that one knows how many processes a load needs), images a
second of client CPU in each way of calling it (so that one knows what one core of an application
can feed), and items a second through preprocessing or tokenizing and the ensemble (what the server
could feed a GPU).
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import record, servers
from benchmarks.studies import client_paths
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.workers import workers
from tritonclip_export.bundle import Bundle
from tritonclip_export.server.server import Server

WORKLOADS = "jpeg-224x224,jpeg-640x480,text-short"

Figures = dict[str, dict[str, float]]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--concurrency", type=int, default=32, help="of the load on the server")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    with servers.served(bundle, stub=True) as server:
        served = _served(server.grpc_url, bundle.name, options.concurrency, options.seconds)
        clients = _clients(server, options.seconds)
    about = {"concurrency": options.concurrency, "callers": client_paths.CALLERS}
    print(record.save("ceilings", {**about, "server": served, "client": clients}))


def _served(url: str, bundle: str, concurrency: int, seconds: float) -> Figures:
    """Items a second through the server, and requests a second of the generator's CPU time."""
    protocol = Protocol(warmup=seconds / 4, seconds=seconds, repeats=3)
    service = triton_service(parse_endpoint(url), bundle)
    figures: Figures = {}
    with workers(1) as pool:
        for workload in workloads.named(WORKLOADS):
            found = measure(service, workload, pool, protocol, concurrency=concurrency)
            rate = found.throughput.mean
            figures[workload.name] = {
                "per_second": rate,
                "requests_per_second_of_generator_cpu": rate / found.generator.cores,
            }
            print(f"{workload.name:40} {rate:8.0f} items/s", flush=True)
    return figures


def _clients(server: Server, seconds: float) -> dict[str, Figures]:
    """Images of 224 x 224 pixels, in each way of calling the client; per protocol."""
    encoded = workloads.photographs(224, 224, "JPEG", 11)
    arrays = [np.asarray(Image.open(io.BytesIO(image))) for image in encoded]
    urls = {"grpc": server.grpc_url, "http": f"http://{server.http_url}"}
    figures = {name: client_paths.every_way(url, encoded, seconds) for name, url in urls.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.jpg" for i in range(len(encoded))]
        for file, image in zip(files, encoded, strict=True):
            file.write_bytes(image)
        for what, images in (("files", files), ("arrays", arrays)):
            figures["grpc"][f"lists of {what}"] = client_paths.blocking(
                server.grpc_url, images, seconds, "lists"
            )
    for protocol, ways in figures.items():
        for way, found in ways.items():
            rate, cpu = found["per_second"], found["per_second_of_cpu"]
            print(f"{protocol} {way:35} {rate:8.0f} images/s {cpu:8.0f} per second of CPU")
    return figures


if __name__ == "__main__":
    main()
