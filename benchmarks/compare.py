"""This project beside its peers, under the same load, in one run.

    python benchmarks/compare.py bundles/ViT-B-32                  # an hour; all peers
    python benchmarks/compare.py bundles/ViT-B-32 --precisions fp32,int8 --peers infinity
    python benchmarks/compare.py --render                          # only docs/performance.md

The bundle: `tritonclip export ViT-B-32 --random-weights 0`. Each peer is installed into its own
environment below --work, once. One that cannot be installed or started is left out, and said. For
the OpenVINO ceiling, install `openvino` beside this package.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import performance_page
import record
from peers import PEERS, in_process
from peers.peer import Peer, PeerError, install, running
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import environment, workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.encoder_models import Execution
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.ports import Ports
from tritonclip_export.repository import assemble
from tritonclip_export.server import Server

RESULT = record.RESULTS / "performance.json"
WORK = Path(tempfile.gettempdir()) / "tritonclip-peers"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> None:
    """Measure, write the result and render the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--render", action="store_true", help="only write the page")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    parser.add_argument("--precisions", default="fp32", help="of ours: those the bundle has")
    parser.add_argument("--workloads", default="jpeg-640x480,text-short")
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warmup", type=float, default=5.0)
    parser.add_argument("--interpreter", action="append", default=[], metavar="3.9=PATH")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if not options.render:
        if options.bundle is None:
            parser.error("name a bundle: tritonclip export ViT-B-32 --random-weights 0")
        compare(options).save(options.result)
    performance_page.write(Report.load(options.result), options.page)
    print(options.page)


def compare(options: argparse.Namespace) -> Report:
    """Measure the ceiling, ours and the peers, one after the other."""
    bundle = Bundle.load(options.bundle)
    chosen = workloads.named(options.workloads)
    loads = [int(number) for number in options.concurrency.split(",")]
    protocol = Protocol(options.warmup, options.seconds, options.repeats)
    date, measured = environment.now(), list[Measurement]()
    about = {"source": bundle.info.source.reference}

    def add(measurement: Measurement) -> None:
        measured.append(measurement)
        rate = measurement.throughput.mean
        load = f"{measurement.workload}, {measurement.concurrency}"
        print(f"{measurement.server}, {load}: {rate:.1f}/s", flush=True)

    for engine in in_process.engines(_precisions(options)):
        for workload in chosen:
            for load in loads:
                add(in_process.measure(engine, bundle, workload, protocol, batch=load))
    with workers(1) as pool:
        for name, start in _services(options, bundle):
            try:
                with start() as service:
                    for each in chosen:
                        _sweep(service, each, pool, protocol, loads, add)
            except (PeerError, BenchmarkError) as error:
                about[f"left out: {name}"] = str(error)
                print(f"{name} is left out: {error}", flush=True)
    about |= {peer.name: peer.about for peer in PEERS if peer.name in options.peers.split(",")}
    return Report(
        date=date,
        machine=environment.machine(),
        versions=environment.versions(),
        about=about,
        measurements=tuple(measured),
    )


def _precisions(options: argparse.Namespace) -> list[Precision]:
    return [cast(Precision, precision) for precision in options.precisions.split(",")]


def _sweep(
    service: Service,
    workload: workloads.Workload,
    pool: Workers,
    protocol: Protocol,
    loads: list[int],
    add: Callable[[Measurement], None],
) -> None:
    for load in loads:
        add(measure(service, workload, pool, protocol, concurrency=load))


def _services(
    options: argparse.Namespace, bundle: Bundle
) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Service]]]]:
    """Names of what is compared, ours first, and how each is started."""
    for precision in _precisions(options):
        yield f"tritonclip {precision}", partial(_ours, bundle, precision)
    interpreters = dict(given.split("=", 1) for given in options.interpreter)
    wanted = options.peers.split(",")
    for peer in PEERS:
        if peer.name in wanted:
            interpreter = interpreters.get(peer.interpreter)
            yield peer.name, partial(_theirs, peer, options.work, bundle.path, interpreter)


@contextmanager
def _ours(bundle: Bundle, precision: Precision) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        assemble([bundle], repository, runtime="python", execution=Execution(precision=precision))
        with Server(repository, ports=Ports(0, 0, 0)) as server:
            endpoint = parse_endpoint(server.grpc_url)
            yield triton_service(endpoint, bundle.name, f"tritonclip {precision}")


@contextmanager
def _theirs(peer: Peer, work: Path, bundle: Path, interpreter: str | None) -> Iterator[Service]:
    python = install(peer, work, Path(interpreter) if interpreter else None)
    with running(peer, python, work, bundle) as service:
        yield service


if __name__ == "__main__":
    main()
