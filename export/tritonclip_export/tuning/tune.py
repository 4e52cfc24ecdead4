"""`tune`: search each tower of one bundle, and write what was found into its configs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip.endpoint import Endpoint
from tritonclip.errors import InvalidArgument
from tritonclip_export.bench import environment
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.results import Measurement
from tritonclip_export.bench.workers import Workers, workers
from tritonclip_export.bench.workloads import Workload
from tritonclip_export.errors import EngineError, RepositoryError, TuningError
from tritonclip_export.machine import gpus
from tritonclip_export.repository import findings
from tritonclip_export.repository.models import BUNDLE_PARAMETER
from tritonclip_export.repository.runtimes import IN_PYTHON
from tritonclip_export.repository.setting import read_setting
from tritonclip_export.served import cores
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import PREFIX
from tritonclip_export.tuning import live
from tritonclip_export.tuning.search import Objective, Outcome, Trial, search
from tritonclip_export.tuning.space import Machine, axes

# One measurement of a tower's share of the time; loading, warming up and connecting come on top.
_SHARE_OF_ONE = 1 / 50
_SECONDS = (0.5, 10.0)
# A measurement in which callers get fewer answers than this says little; one that takes longer than
# that leaves no time to search.
_ANSWERS_EACH = 4
_MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Tuned:
    """What was found for one tower.

    Attributes:
        workload: what it was asked.
        outcome: of the search.
        written: the models whose configs were changed; empty where nothing was gained.
        doubts: why the figures may not be the server's.
    """

    workload: str
    outcome: Outcome
    written: tuple[str, ...]
    doubts: tuple[str, ...]


def tune(
    repository: Path,
    workloads: Sequence[Workload],
    *,
    bundle: str | None = None,
    objective: Objective = Objective(),  # noqa: B008 (immutable)
    concurrency: int = 32,
    processes: int = 1,
    seconds: float = 300.0,
    each: float | None = None,
    server: str | None = None,
    show: Callable[[Workload, Trial], None] = lambda *_: None,
) -> list[Tuned]:
    """Look for the settings under which a bundle is served best, and write them.

    Args:
        repository: what `assemble` wrote; it may be in use.
        workloads: one for each tower to tune.
        bundle: its name; None where there is only one.
        objective: what counts as better.
        concurrency: callers, each waiting for its answer.
        processes: that make the load.
        seconds: for all, more or less.
        each: seconds of one measurement at least; None for a part of those that there are.
        server: the gRPC address of a server of this repository, on this machine; None to start the
            one from PyPI, which nobody else asks anything.
        show: told of each trial.

    Raises:
        InvalidArgument: there are several bundles or none of that name, or two workloads for one
            tower.
        RepositoryError: the folder holds nothing that `assemble` wrote.
        TuningError: there is no server here for the repository's runtime; the one that there is
            does not take orders, or does not answer even under the settings that it has.
    """
    if len({workload.kind for workload in workloads}) != len(workloads):
        raise InvalidArgument("one workload for each tower: the settings depend on what is sent")
    name = bundle_name(repository, bundle)
    if server is None:
        _check_runtime(repository, name)
    ends = time.monotonic() + seconds
    with ExitStack() as stack:
        host = stack.enter_context(
            live.own_server(repository, name)
            if server is None
            else live.running_server(server, repository, name, _models(name, workloads))
        )
        pool = stack.enter_context(workers(processes))
        run = _Run(repository, name, host, pool, objective, concurrency, each)
        done = []
        for index, workload in enumerate(workloads):
            # What the towers before did not need is left to this one.
            share = max(0.0, ends - time.monotonic()) / (len(workloads) - index)
            done.append(run.tuned(workload, share, show))
    return done


def bundle_name(repository: Path, wanted: str | None) -> str:
    """The bundle to tune.

    Raises:
        InvalidArgument: there are several and none is named, or none of that name.
        RepositoryError: there are none.
    """
    if not repository.is_dir():
        raise RepositoryError(
            f"{repository} is not a folder: `tritonclip assemble` makes a repository"
        )
    parameters = [read_config(file).parameters for file in repository.glob("*/config.pbtxt")]
    names = sorted({p[BUNDLE_PARAMETER].string_value for p in parameters if BUNDLE_PARAMETER in p})
    if not names:
        raise RepositoryError(
            f"{repository} holds nothing that `tritonclip assemble` wrote, and `tune` changes "
            "nothing else"
        )
    if wanted is not None and wanted not in names:
        raise InvalidArgument(f"{repository} has no bundle {wanted!r}, but {', '.join(names)}")
    if wanted is None and len(names) > 1:
        raise InvalidArgument(
            f"{repository} holds several bundles; choose one with --bundle: {', '.join(names)}"
        )
    return wanted or names[0]


def _models(bundle: str, workloads: Sequence[Workload]) -> list[str]:
    return [model for w in workloads for model in findings.tower_models(bundle, w.kind)]


def _check_runtime(repository: Path, bundle: str) -> None:
    config = read_config(repository / f"{bundle}_image" / "config.pbtxt")
    runtime = config.parameters[f"{PREFIX}runtime"].string_value
    if runtime in IN_PYTHON:
        return
    gpu = " --gpus all" * (runtime == "tensorrt")
    raise TuningError(
        f"the server from PyPI has no backend for runtime {runtime!r}. On the machine that will "
        f"serve it, start NVIDIA's, `tritonclip serve {repository} --container{gpu} --explicit`, "
        "and tune that: --server 127.0.0.1:8001"
    )


@dataclass(frozen=True)
class _Run:
    """What the towers of one run have in common."""

    repository: Path
    bundle: str
    host: live.Host
    pool: Workers
    objective: Objective
    concurrency: int
    each: float | None

    def tuned(
        self, workload: Workload, seconds: float, show: Callable[[Workload, Trial], None]
    ) -> Tuned:
        """Search the tower that `workload` asks for so many seconds, and write what is found."""
        deadline = time.monotonic() + seconds
        models = findings.tower_models(self.bundle, workload.kind)
        encoder, feeder = (read_config(self.repository / m / "config.pbtxt") for m in models)
        baseline = read_setting(encoder, feeder)
        window = self._window(workload, seconds)
        measurements: list[Measurement] = []

        def load(endpoint: Endpoint) -> Measurement:
            measurements.append(self._measured(endpoint, workload, window))
            return measurements[-1]

        machine = Machine(
            cores=cores.usable(),
            gpus=_gpus(encoder),
            max_batch=encoder.max_batch_size,
            concurrency=self.concurrency,
            fed="TEXT" not in {tensor.name for tensor in encoder.input},
        )
        outcome = search(
            baseline,
            axes(machine),
            live.measure_under(self.host, (encoder, feeder), load),
            self.objective,
            deadline=deadline,
            clock=time.monotonic,
            show=lambda trial: show(workload, trial),
        )
        written: tuple[str, ...] = ()
        if outcome.gained:
            about = self._provenance(workload, outcome)
            written = findings.write(self.repository, models, outcome.best, about)
        return Tuned(workload.name, outcome, written, measurements[-1].doubts())

    def _measured(self, endpoint: Endpoint, workload: Workload, seconds: float) -> Measurement:
        service = triton_service(endpoint, self.bundle)
        protocol = Protocol(warmup=seconds / 2, seconds=seconds, repeats=1)
        return measure(service, workload, self.pool, protocol, concurrency=self.concurrency)

    def _window(self, workload: Workload, seconds: float) -> float:
        """Seconds of one measurement: a part of those there are, and some answers to each caller.

        Raises:
            TuningError: requests fail, or answers take too long.
        """
        window = self.each or min(max(seconds * _SHARE_OF_ONE, _SECONDS[0]), _SECONDS[1])
        while window <= _MOST_SECONDS:
            measured = self._measured(self.host.address(), workload, window)
            if measured.failures:
                reasons = "; ".join(measured.failures)
                raise TuningError(
                    f"{workload.name}: requests fail before anything is changed: {reasons}"
                )
            if measured.latency and window * 1000 >= _ANSWERS_EACH * measured.latency.p50:
                return window
            window *= 2
        raise TuningError(
            f"{workload.name} takes {_MOST_SECONDS / _ANSWERS_EACH:g} s or more with "
            f"{self.concurrency} in flight: lower --concurrency, or tune on a machine with less "
            "other work"
        )

    def _provenance(self, workload: Workload, outcome: Outcome) -> dict[str, Any]:
        limit, here = self.objective.limit_ms, environment.here()
        return {
            "date": here.date,
            "machine": here.machine.cpu,
            "cores": cores.usable(),
            "objective": self.objective.name + (f", p99 at most {limit:g} ms" if limit else ""),
            "load": f"{workload.name}, concurrency {self.concurrency}",
            "gain": round(outcome.gain, 3),
        }


def _gpus(encoder: Any) -> int:
    """On how many GPUs of this machine an encoder is executed; 0 for the CPU."""
    group = encoder.instance_group[0]
    device = encoder.parameters["device"].string_value if "device" in encoder.parameters else None
    if group.gpus:
        return len(group.gpus)
    if device == "cpu" or (device is None and group.kind == group.KIND_CPU):
        return 0
    if device == "auto":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return 0
    try:
        there = len(gpus.listed())
    except EngineError:
        there = 0
    if device == "auto":
        return min(there, 1)  # an instance that has not been given a GPU takes the first
    return max(there, 1) if group.kind == group.KIND_GPU else there
