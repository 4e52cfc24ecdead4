"""What `zero_shot.py`, `growth.py` and `cpu_time.py` write: typed, and JSON on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from tritonclip_export.bench import environment
from tritonclip_export.bench.results import Interval, Machine

AnyStudy = TypeVar("AnyStudy", bound="Study")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Frozen):
    """When, where and with what a study was made."""

    date: str
    machine: Machine
    versions: dict[str, str]
    source: str
    """The checkpoint."""
    precision: str
    """Of the encoders; empty for a study of several."""

    @classmethod
    def here(cls, source: str, precision: str) -> About:
        """Now, on this machine."""
        return cls(
            date=environment.now(),
            machine=environment.machine(),
            versions=environment.versions(),
            source=source,
            precision=precision,
        )


class Study(_Frozen):
    """A result file."""

    about: About

    def save(self, file: Path) -> Path:
        """Write JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return file

    @classmethod
    def load(cls: type[AnyStudy], file: Path) -> AnyStudy:
        """Read what `save` wrote."""
        return cls.model_validate_json(file.read_bytes())


class PathRow(_Frozen):
    """One way to classify, or to embed, at one concurrency.

    Attributes:
        path: which way, in words.
        baseline: the plain embedding that it is compared with, asked in the same manner.
        throughput: images a second.
        ratio: to the baseline's throughput in the same round; None for a baseline.
        p50_ms: of a request, the median over rounds.
        cpu_ms: CPU time an image, of the server and of the process that asks.
    """

    path: str
    baseline: str | None
    concurrency: int
    throughput: Interval
    ratio: Interval | None
    p50_ms: float
    cpu_ms: float


class FirstRow(_Frozen):
    """Seconds until a label set that is new is answered, all requests that come together."""

    path: str
    requests: int
    seconds: Interval


class ZeroShot(Study):
    """What `zero_shot.py` measured."""

    labels: int
    paths: tuple[PathRow, ...]
    first: tuple[FirstRow, ...]


class Stream(_Frozen):
    """So many images streamed through `Client.stream_images`.

    Attributes:
        encoder: the bundle's own, or a stub that costs nothing.
        tenths: images a second in each tenth of the stream.
        client_mib: the client's memory before, after each tenth, and at the end.
        server_mib: the server's, likewise.
        client_peak_mib: at its peak, sampled twice a second.
        server_peak_mib: likewise.
    """

    encoder: str
    images: int
    seconds: float
    tenths: tuple[float, ...]
    client_mib: tuple[float, ...]
    server_mib: tuple[float, ...]
    client_peak_mib: float
    server_peak_mib: float
    verdict: str


class Instances(_Frozen):
    """So many instances of each encoder, with so many threads each."""

    instances: int
    threads: int
    start_seconds: float
    throughput: Interval
    cores: float
    memory_mib: float
    verdict: str


class LabelSets(_Frozen):
    """The server's zero-shot model asked for so many label sets in turn; encoders are stubs.

    Attributes:
        first_seconds: until each set was embedded and answered once.
        memory_mib: of the server, at its peak.
    """

    sets: int
    labels: int
    first_seconds: float
    throughput: Interval
    memory_mib: float
    verdict: str


class Growth(Study):
    """What `growth.py` measured."""

    streams: tuple[Stream, ...]
    instances: tuple[Instances, ...]
    label_sets: tuple[LabelSets, ...]


class CpuRow(_Frozen):
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


class CpuTime(Study):
    """What `cpu_time.py` measured."""

    rows: tuple[CpuRow, ...]
