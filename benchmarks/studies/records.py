"""What `cpu_time.py` writes: typed, and JSON on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from tritonclip_export.bench import environment
from tritonclip_export.bench.results import Machine

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
