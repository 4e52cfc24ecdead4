"""This project beside its peers, under the same load, in one run.

    python -m benchmarks.compare bundles/ViT-B-32                  # half an hour; all peers
    python -m benchmarks.compare bundles/ViT-B-32 --precisions fp32,int8 --peers infinity
    python -m benchmarks.compare bundles/ViT-B-32 --workloads png-640x480,jpeg-12mp,text-long \
        --concurrency 8 --result benchmarks/results/performance-inputs.json
    python -m benchmarks.compare bundles/ViT-B-32 --workloads jpeg-640x480 --rates 10,20,40,80 \
        --result benchmarks/results/performance-rates.json
    python -m benchmarks.compare bundles/ViT-B-32 --gateway --concurrency 1,8,64,256 --rounds 2 \
        --result benchmarks/results/performance-gateway.json

The bundle: `tritonclip export ViT-B-32 --random-weights 0`, and what `build` adds to it. Each peer
is installed into its own environment below --work, once. One that cannot be installed or started is
left out, and said. `benchmarks.render` shows the results named here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import record
from benchmarks.gateway_server import gateway
from benchmarks.peers import PEERS, in_process
from benchmarks.peers.peer import Peer, PeerError, install, running
from benchmarks.servers import served
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import environment, workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.bench.summary import merged
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Kind, Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.runtimes import Runtime


class Load(NamedTuple):
    """Callers of a closed loop; or, with requests a second, connections of an open one."""

    concurrency: int
    rate: float | None = None


Subject = Callable[[Workload, Protocol, Load], Measurement]
"""Something to measure: under a workload, for how long, under which load."""

RESULT = record.RESULTS / "performance.json"
CONNECTIONS = 64
CORES = os.cpu_count() or 1
WORK = Path(tempfile.gettempdir()) / "tritonclip-peers"


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    parser.add_argument("--precisions", default="fp32", help="of ours, in ONNX Runtime")
    parser.add_argument("--openvino", default="", help="precisions of ours, in OpenVINO")
    parser.add_argument(
        "--each-core",
        default="",
        help="precisions of ours also with an instance of one thread on each core, as `tune` "
        "finds it for many requests in flight",
    )
    parser.add_argument("--gateway", action="store_true", help="ours also through the gateway")
    parser.add_argument("--workloads", default="jpeg-640x480,text-short")
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--rates", help="requests a second, instead: an open loop, no ceilings")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each, each round")
    parser.add_argument("--warmup", type=float, default=1.0, help="of each, each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--interpreter", action="append", default=[], metavar="3.9=PATH")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    compare(options).save(options.result)
    print(options.result)


def compare(options: argparse.Namespace) -> Report:
    """Measure the ceilings, ours and the peers in rounds, each for some seconds in turn.

    All run all the time, and one is loaded: a machine whose speed drifts over minutes, as virtual
    ones do, then treats them alike.
    """
    bundle = Bundle.load(options.bundle)
    chosen = workloads.named(options.workloads)
    protocol = Protocol(options.warmup, options.seconds, repeats=1)
    began, measured = environment.here(), list[Measurement]()
    about = {"source": bundle.info.source.reference}
    about |= {peer.name: peer.about for peer in PEERS if peer.name in options.peers.split(",")}
    with ExitStack() as stack:
        kinds = {workload.kind for workload in chosen}
        subjects = {} if options.rates else dict(_ceilings(options, bundle, kinds))
        pool = stack.enter_context(workers(1))
        for name, start in _services(options, bundle):
            try:
                subjects[name] = partial(_loaded, stack.enter_context(start()), pool)
            except (PeerError, BenchmarkError) as error:
                about[f"left out: {name}"] = str(error)
        for workload in chosen:
            for load in _loads(options):
                rounds: dict[str, list[Measurement]] = {}
                for name in list(subjects) * options.rounds:
                    if name not in subjects:
                        continue
                    try:
                        found = subjects[name](workload, protocol, load)
                    except BenchmarkError as error:
                        about[f"left out: {name}"] = str(error)
                        del subjects[name]
                    else:
                        rounds.setdefault(name, []).append(found)
                measured += map(_reported, rounds.values())
    return Report(**dict(began), about=about, measurements=tuple(measured))


def _loads(options: argparse.Namespace) -> list[Load]:
    if options.rates:
        return [Load(CONNECTIONS, float(rate)) for rate in options.rates.split(",")]
    return [Load(int(number)) for number in options.concurrency.split(",")]


def _reported(rounds: list[Measurement]) -> Measurement:
    found = merged(rounds)
    load = f"{found.rate:g} asked for" if found.rate else f"{found.concurrency} in flight"
    print(f"{found.server}, {found.workload}, {load}: {found.throughput:.1f}/s", flush=True)
    return found


def _loaded(
    service: Service, pool: Workers, workload: Workload, protocol: Protocol, load: Load
) -> Measurement:
    return measure(service, workload, pool, protocol, concurrency=load.concurrency, rate=load.rate)


def _ceilings(
    options: argparse.Namespace, bundle: Bundle, kinds: set[Kind]
) -> Iterator[tuple[str, Subject]]:
    """ONNX Runtime and OpenVINO in this process."""
    for engine in in_process.engines(options.precisions, options.openvino):
        embed = {kind: in_process.embedder(engine, bundle, kind) for kind in kinds}
        yield engine.name, partial(_in_process, engine, embed)


def _in_process(
    engine: in_process.Engine,
    embed: dict[Kind, in_process.Embed],
    workload: Workload,
    protocol: Protocol,
    load: Load,
) -> Measurement:
    batch = load.concurrency
    return in_process.measure(engine, embed[workload.kind], workload, protocol, batch=batch)


def _services(
    options: argparse.Namespace, bundle: Bundle
) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Service]]]]:
    """Names of what is compared, ours first, and how each is started."""
    for engine in in_process.engines(options.precisions, options.openvino):
        # ONNX Runtime is what a bundle is served with unless told otherwise.
        library = "" if engine.library == "ONNX Runtime" else f"{engine.library} "
        ours = f"tritonclip {library}{engine.precision}"
        execution = Execution(precision=engine.precision)
        yield ours, partial(_ours, ours, bundle, engine, execution)
        if engine.precision in options.each_core.split(","):
            spread = Execution(precision=engine.precision, instances=CORES, threads=1)
            name = f"{ours}, {CORES} instances"
            yield name, partial(_ours, name, bundle, engine, spread)
        if options.gateway:
            name = f"{ours}, gateway"
            yield name, partial(_through_gateway, name, bundle, engine.runtime, execution)
    interpreters = dict(given.split("=", 1) for given in options.interpreter)
    wanted = options.peers.split(",")
    for peer in PEERS:
        if peer.name in wanted:
            interpreter = interpreters.get(peer.interpreter)
            yield peer.name, partial(_theirs, peer, options.work, bundle.path, interpreter)


@contextmanager
def _ours(
    name: str, bundle: Bundle, engine: in_process.Engine, execution: Execution
) -> Iterator[Service]:
    with served(bundle, execution, engine.runtime) as server:
        yield triton_service(parse_endpoint(server.grpc_url), bundle.name, name)


@contextmanager
def _through_gateway(
    name: str, bundle: Bundle, runtime: Runtime, execution: Execution
) -> Iterator[Service]:
    with (
        served(bundle, execution, runtime) as server,
        gateway(server.grpc_url, name) as (service, _),
    ):
        yield service


@contextmanager
def _theirs(peer: Peer, work: Path, bundle: Path, interpreter: str | None) -> Iterator[Service]:
    python = install(peer, work, Path(interpreter) if interpreter else None)
    with running(peer, python, work, bundle) as service:
        yield service


if __name__ == "__main__":
    main()
