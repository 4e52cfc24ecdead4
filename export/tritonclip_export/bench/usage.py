"""CPU time, memory and GPUs while a load runs."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil

from tritonclip.endpoint import Endpoint
from tritonclip_export.bench.results import GpuUsage, Usage
from tritonclip_export.errors import EngineError
from tritonclip_export.machine import gpus

_LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0")
_GPU_FIELDS = "index,name,utilization.gpu,memory.used,power.draw"
_GPU_MILLISECONDS = 500


class Meter:
    """Measures some processes and all that they have started, from its making until `read`."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._roots = tuple(pids)
        self._began = time.monotonic()
        self._cpu_before = cpu_seconds(self._roots)
        self._peak = 0
        self.look()

    def look(self) -> None:
        """Note how much memory is in use; to be called about once a second."""
        self._peak = max(self._peak, memory(family(self._roots)))

    def read(self) -> Usage:
        """What they took since the meter was made."""
        elapsed = time.monotonic() - self._began
        self.look()
        after = cpu_seconds(self._roots)
        used = sum(after[pid] - self._cpu_before.get(pid, 0.0) for pid in after)
        return Usage(cores=used / elapsed, memory_mib=self._peak / 2**20)


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """CPU time so far of those processes and all that they have started, by process."""
    seconds = {}
    for pid in family(pids):
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        seconds[pid] = float(times.user + times.system)
    return seconds


def family(pids: Iterable[int]) -> list[int]:
    """Those processes that still run and all that they have started."""
    found = []
    for pid in pids:
        try:
            root = psutil.Process(pid)
            found += [pid, *(child.pid for child in root.children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
    return found


def memory(pids: Iterable[int]) -> int:
    """Bytes in use by processes now, as in `Usage`; 0 for one that has gone."""
    return sum(map(_memory, pids))


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def server_process(endpoint: Endpoint) -> int | None:
    """The process of this machine that listens there, if there is one that may be measured."""
    if endpoint.host not in _LOCAL:
        return None
    try:
        listening = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in listening:
        here = connection.status == psutil.CONN_LISTEN and connection.laddr.port == endpoint.port
        # In front of a container stands Docker's proxy, whose figures are not the server's.
        if here and connection.pid and psutil.Process(connection.pid).name() != "docker-proxy":
            return int(connection.pid)
    return None


@contextmanager
def gpu_usage() -> Iterator[list[GpuUsage]]:
    """A list that holds, after the block, what each GPU did during it; empty without GPUs."""
    found: list[GpuUsage] = []
    try:
        gpus.listed()
    except EngineError:
        yield found
        return
    query = ("nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits")
    with tempfile.TemporaryFile("w+") as lines:
        watcher = subprocess.Popen([*query, f"--loop-ms={_GPU_MILLISECONDS}"], stdout=lines)
        try:
            yield found
        finally:
            watcher.terminate()
            watcher.wait()
        lines.seek(0)
        found.extend(parse_gpus(lines))


def parse_gpus(lines: Iterable[str]) -> list[GpuUsage]:
    """From nvidia-smi's lines: mean utilization and power, peak memory of each GPU."""
    samples: defaultdict[tuple[int, str], list[list[float | None]]] = defaultdict(list)
    for line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 5 and cells[0].isdigit():  # the last line may be cut
            samples[int(cells[0]), cells[1]].append([_number(cell) for cell in cells[2:]])
    found = []
    for (index, name), rows in sorted(samples.items()):
        columns = [
            [value for value in column if value is not None] for column in zip(*rows, strict=True)
        ]
        utilization, memory, power = columns
        found.append(
            GpuUsage(
                index=index,
                name=name,
                utilization_percent=_mean(utilization),
                memory_mib=max(memory, default=None),
                power_watts=_mean(power),
            )
        )
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # [N/A]
        return None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
