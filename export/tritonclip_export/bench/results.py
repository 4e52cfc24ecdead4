"""What a benchmark writes and a page or a plot reads: typed, and JSON on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tritonclip_export.errors import BenchmarkError
from tritonclip_export.staging.files import whole_file

# A generator at this share of what its processes can use may be what is measured.
BUSY = 0.9


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """A mean over repeats and its 95 % confidence interval; without ends where there is one."""

    mean: float
    low: float | None
    high: float | None
    repeats: tuple[float, ...]

    @property
    def half(self) -> float | None:
        """How far the ends lie from the mean."""
        return None if self.low is None else self.mean - self.low

    def __format__(self, form: str) -> str:
        """`mean ± half`, both in the format of a number; the mean alone where there is no more."""
        mean = format(self.mean, form)
        return mean if self.half is None else f"{mean} ± {format(self.half, form)}"


class Latency(_Frozen):
    """Milliseconds from when a request was due to its answer.

    `histogram` is the whole distribution in microseconds, as an HDR histogram of version 2 encodes
    itself (compressed, base64).
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    histogram: str


class Usage(_Frozen):
    """What some processes took: CPU time as cores in use on average, and memory at its peak.

    Memory is the proportional set size, in which pages that processes share count once; where the
    system does not tell, the resident set size.
    """

    cores: float
    memory_mib: float


class GpuUsage(_Frozen):
    """What one GPU did, on average and at its peak; None where it does not say."""

    index: int
    name: str
    utilization_percent: float | None
    memory_mib: float | None
    power_watts: float | None


class Step(_Frozen):
    """One Triton model's own figures: milliseconds a request on average.

    `batch` is the mean size in which the dynamic batcher ran it. A model that waits in `queue` is
    what limits the server; `infer` is its own work.
    """

    model: str
    requests: int
    batch: float
    total_ms: float
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float
    cache_hits: int


class Measurement(_Frozen):
    """One load on one server.

    Attributes:
        server: what was measured, in a word.
        workload: what was sent: `jpeg-640x480`, `text-short`.
        concurrency: callers of a closed loop, connections of an open one.
        rate: requests a second of an open loop; None for a closed one.
        batch: items in a request; all throughputs are of items.
        latency: None if no request succeeded.
        lateness_ms: how late the generator was at the 99th percentile, in an open loop.
        failures: reasons with the number of requests that they cost.
        generator: what the load generator took; `processes` of them.
        usage: what the server took; None where it is not on this machine.
    """

    server: str
    workload: str
    protocol: Literal["grpc", "http", "in process"]
    concurrency: int
    rate: float | None
    batch: int
    processes: int
    seconds: float
    throughput: Interval
    latency: Latency | None
    lateness_ms: float
    failures: dict[str, int]
    generator: Usage
    usage: Usage | None
    gpus: tuple[GpuUsage, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def fell_behind(self) -> bool:
        """Whether fewer requests were answered than a constant rate asked for."""
        return self.rate is not None and self.throughput.mean < BUSY * self.rate * self.batch

    def doubts(self) -> tuple[str, ...]:
        """Why the figures may not be the server's; empty if nothing speaks against them."""
        found = [f"{count} requests failed ({why})" for why, count in self.failures.items()]
        if self.protocol != "in process" and self.generator.cores > BUSY * self.processes:
            found.append(
                f"the generator used {self.generator.cores:.2f} cores in {self.processes} "
                "processes: it may be the limit, use more processes"
            )
        if hits := sum(step.cache_hits for step in self.steps):
            found.append(f"{hits} answers came from the response cache")
        if self.fell_behind:
            found.append(f"the server cannot answer {self.rate:g} requests a second")
        return tuple(found)


class Machine(_Frozen):
    """The hardware and the system."""

    cpu: str
    cores: int
    features: tuple[str, ...]
    memory_gib: float
    gpus: tuple[str, ...]
    system: str

    def __str__(self) -> str:
        """Processor, cores and memory, in words."""
        return f"{self.cpu}, {self.cores} vCPU, {self.memory_gib:.0f} GiB"


class Environment(_Frozen):
    """When, where and with what something was measured.

    Attributes:
        date: when it began, UTC, ISO 8601 to the second.
        versions: of Python, the server and packages that matter.
    """

    date: str
    machine: Machine
    versions: dict[str, str]

    @property
    def day(self) -> str:
        """Of `date`."""
        return self.date[:10]


class Report(Environment):
    """Measurements of one run on one machine.

    Attributes:
        about: what else one must know to repeat it.
    """

    format_version: Literal[1] = 1
    about: dict[str, str]
    measurements: tuple[Measurement, ...]

    def save(self, file: Path) -> None:
        """Write JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as partial:
            partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Report:
        """Read what `save` wrote.

        Raises:
            BenchmarkError: it is not there, or not a report of this version.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise BenchmarkError(f"cannot read {file}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BenchmarkError(
                f"{file} is not a report of `tritonclip bench`: {where}: {first['msg']}"
            ) from error
