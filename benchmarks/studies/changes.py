"""What changes did to speed: two checkouts serve the same bundle and are asked in turns.

    python -m benchmarks.studies.changes bundles/ViT-B-32 bundles/demo --before ../before

`--before` is another checkout with an environment of its own (`make .venv/.installed`), such as a
git worktree of the commit before. Each assembles and serves with its own `tritonclip`. Both servers
run all the time and one at a time is loaded, for a second or so and in another order each round, so
that what else a machine does touches both alike. ONNX Runtime or OpenVINO in this process, with the
same precision and the same tokenizing, has its turns, too.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks import record
from benchmarks.peers import in_process
from benchmarks.studies.cpu_time import About, seconds_by_model
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import environment, triton, workloads
from tritonclip_export.bench.measure import Protocol, Service, measure, triton_service
from tritonclip_export.bench.summary import interval
from tritonclip_export.bench.usage import family, memory
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.bundle import Bundle

RESULT = record.RESULTS / "changes.json"
SIDES = ("before", "after")
_STOP_SECONDS = 30
_IDLE_MS = 0.002


class Side(BaseModel):
    """One checkout under one load.

    Attributes:
        rates: items a second, of each round.
        batch: mean size of the encoder's batches.
        cpu_ms: of a request, by process: a model's, tritonserver, the generator.
    """

    model_config = ConfigDict(frozen=True)

    rates: tuple[float, ...]
    batch: float
    cpu_ms: dict[str, float]


class Row(BaseModel):
    """One load; round i of each side belongs together."""

    model_config = ConfigDict(frozen=True)

    bundle: str
    engine: str
    workload: str
    concurrency: int
    before: Side
    after: Side
    in_process: tuple[float, ...]


class Served(BaseModel):
    """A bundle as both checkouts serve it.

    Attributes:
        start_s: seconds from the command to the line that says it is ready, of each start.
        mib: memory of all its processes after all loads.
    """

    model_config = ConfigDict(frozen=True)

    bundle: str
    engine: str
    start_s: dict[str, tuple[float, ...]]
    mib: dict[str, float]


class Changes(BaseModel):
    """The result file."""

    model_config = ConfigDict(frozen=True)

    about: About
    before: str
    rows: tuple[Row, ...]
    served: tuple[Served, ...]


@dataclass
class Repository:
    """A bundle assembled by one checkout."""

    command: Path
    folder: Path

    @contextmanager
    def served(self, started: list[float]) -> Iterator[str]:
        """The address of `tritonclip serve`, whose time to get ready is noted."""
        began = time.monotonic()
        arguments = [str(self.command), "serve", str(self.folder), "--json"]
        ports = [f"--{protocol}-port=0" for protocol in ("http", "grpc", "metrics")]
        process = subprocess.Popen([*arguments, *ports], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            urls = json.loads(process.stdout.readline())
            started.append(time.monotonic() - began)
            yield urls["grpc"]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_STOP_SECONDS)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--before", type=Path, required=True, help="a checkout with its .venv")
    parser.add_argument("--precisions", default="fp32,int8", help="in ONNX Runtime")
    parser.add_argument("--openvino", default="", help="precisions in OpenVINO")
    parser.add_argument("--workloads", default="text-short")
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load in a round")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT, help="added to if it is there")
    options = parser.parse_args()
    commands = {
        "before": options.before / ".venv" / "bin" / "tritonclip",
        "after": Path(sys.executable).with_name("tritonclip"),
    }
    rows: list[Row] = []
    served: list[Served] = []
    sources: list[str] = []
    with workers(1) as pool, tempfile.TemporaryDirectory() as folder:
        for path in options.bundles:
            bundle = Bundle.load(path)
            sources.append(Path(bundle.info.source.reference).name)  # of a folder, no path
            for engine in in_process.engines(options.precisions, options.openvino):
                if not _has(bundle, engine):
                    continue
                repositories = {
                    side: _assembled(command, bundle, engine, Path(folder) / side)
                    for side, command in commands.items()
                }
                found = _measured(bundle, engine, repositories, pool, options)
                rows += found[0]
                served.append(found[1])
    commit = _commit(options.before)
    about = About(**dict(environment.here()), source=", ".join(sources))
    study = Changes(about=about, before=commit, rows=tuple(rows), served=tuple(served))
    if options.result.exists():
        study = _added(study, Changes.model_validate_json(options.result.read_bytes()))
    options.result.write_text(study.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(options.result)


def _added(study: Changes, past: Changes) -> Changes:
    """With what an earlier run found of other bundles and engines."""
    done = {(served.bundle, served.engine) for served in study.served}
    rows = tuple(row for row in past.rows if (row.bundle, row.engine) not in done)
    served = tuple(one for one in past.served if (one.bundle, one.engine) not in done)
    return study.model_copy(update={"rows": rows + study.rows, "served": served + study.served})


def _has(bundle: Bundle, engine: in_process.Engine) -> bool:
    file_format = "openvino" if engine.runtime == "openvino" else "onnx"
    return any(
        (a.format, a.precision) == (file_format, engine.precision) for a in bundle.info.artifacts
    )


def _assembled(
    command: Path, bundle: Bundle, engine: in_process.Engine, folder: Path
) -> Repository:
    target = folder / f"{bundle.name}-{engine.runtime}-{engine.precision}"
    choice = ["--runtime", engine.runtime, "--precision", engine.precision]
    run = [str(command), "assemble", str(bundle.path), *choice, "--output", str(target)]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    return Repository(command, target)


def _measured(
    bundle: Bundle,
    engine: in_process.Engine,
    repositories: dict[str, Repository],
    pool: Workers,
    options: argparse.Namespace,
) -> tuple[list[Row], Served]:
    starts: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.starts - 1):
        for side in SIDES:
            with repositories[side].served(starts[side]):
                pass
    rows = []
    with (
        repositories["before"].served(starts["before"]) as before,
        repositories["after"].served(starts["after"]) as after,
    ):
        services = {
            side: triton_service(parse_endpoint(url), bundle.name, side)
            for side, url in zip(SIDES, (before, after), strict=True)
        }
        for workload in workloads.named(options.workloads):
            embed = in_process.embedder(engine, bundle, workload.kind)
            for load in map(int, options.concurrency.split(",")):
                row = _row(bundle, engine, workload, load, services, pool, embed, options)
                print(_line(row), flush=True)
                rows.append(row)
        mib = {side: _memory(service) for side, service in services.items()}
    engine_name = f"{engine.library} {engine.precision}"
    times = {side: tuple(seconds) for side, seconds in starts.items()}
    return rows, Served(bundle=bundle.name, engine=engine_name, start_s=times, mib=mib)


def _row(
    bundle: Bundle,
    engine: in_process.Engine,
    workload: Workload,
    load: int,
    services: dict[str, Service],
    pool: Workers,
    embed: in_process.Embed,
    options: argparse.Namespace,
) -> Row:
    """All rounds of one load; the first is to warm up and does not count."""
    protocol = Protocol(options.seconds / 4, options.seconds, 1)
    tallies = {side: _Tally(service, pool) for side, service in services.items()}
    alone: list[float] = []
    turns = [*SIDES, ""]
    for number in range(options.rounds + 1):
        random.Random(number).shuffle(turns)
        for turn in turns:
            if turn:
                tallies[turn].add(workload, protocol, load, counts=number > 0)
                continue
            found = in_process.measure(engine, embed, workload, protocol, batch=load)
            alone += [found.throughput.mean] if number else []
    sides = {side: tally.side(f"{bundle.name}_{workload.kind}") for side, tally in tallies.items()}
    name = f"{engine.library} {engine.precision}"
    return Row(
        bundle=bundle.name,
        engine=name,
        workload=workload.name,
        concurrency=load,
        **sides,
        in_process=tuple(alone),
    )


class _Tally:
    """What one side did, over the rounds."""

    def __init__(self, service: Service, pool: Workers) -> None:
        self._service = service
        self._pool = pool
        self._rates: list[float] = []
        self._requests: dict[str, int] = {}
        self._executions: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def add(self, workload: Workload, protocol: Protocol, load: int, *, counts: bool) -> None:
        """Load it once."""
        service, pool = self._service, self._pool
        assert service.statistics is not None
        assert service.pid is not None
        counted, before = service.statistics(), seconds_by_model(service.pid, pool)
        found = measure(service, workload, pool, protocol, concurrency=load)
        after = seconds_by_model(service.pid, pool)
        if not counts:
            return
        self._rates.append(found.throughput.mean)
        for step in triton.steps(counted, service.statistics()):
            self._requests[step.model] = self._requests.get(step.model, 0) + step.requests
            runs = step.requests / step.batch if step.batch else 0.0
            self._executions[step.model] = self._executions.get(step.model, 0.0) + runs
        for name, seconds in after.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds - before.get(name, 0.0)

    def side(self, model: str) -> Side:
        """Its figures, for requests to `model`."""
        encoder = f"{model}_encoder"
        requests = self._requests[model]
        cpu = {name: 1e3 * seconds / requests for name, seconds in self._seconds.items()}
        return Side(
            rates=tuple(self._rates),
            batch=self._requests[encoder] / self._executions[encoder],
            cpu_ms={name: ms for name, ms in cpu.items() if ms > _IDLE_MS},
        )


def _memory(service: Service) -> float:
    """MiB of all processes of a server."""
    assert service.pid is not None
    return memory(family([service.pid])) / 2**20


def _line(row: Row) -> str:
    gain = interval([b / a for a, b in zip(row.before.rates, row.after.rates, strict=True)])
    share = interval([b / a for a, b in zip(row.in_process, row.after.rates, strict=True)])
    before, after = (interval(side.rates).mean for side in (row.before, row.after))
    return (
        f"{row.bundle}, {row.engine}, {row.workload}, {row.concurrency} in flight: {before:.0f} to "
        f"{after:.0f}/s, x{gain:.3f}; {share:.3f} of in process; ms {row.before.cpu_ms} to "
        f"{row.after.cpu_ms}"
    )


def _commit(checkout: Path) -> str:
    run = ["git", "-C", str(checkout), "log", "-1", "--format=%h %s"]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    return str(done.stdout.strip())


if __name__ == "__main__":
    main()
