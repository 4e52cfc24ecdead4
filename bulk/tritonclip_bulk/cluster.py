"""The engine of a cluster: Ray Data hands shards to workers on any number of machines.

Ray starts workers again that die, and gives their shards to others. A shard that keeps killing its
workers is left after some tries, for its error to be told.

So that no single worker holds up the end, each shard is handed out twice: the second time, when all
have been handed out once, most are done and cost a look; for one that is not, the worker waits as
long as a few shards have taken it, and then does it, too. Both write the same bytes.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

from tritonclip_bulk.errors import ClusterError
from tritonclip_bulk.plan import Shard
from tritonclip_bulk.worker import Job, Outcome, Worker

LOCAL = "local"
CLIENT = "ray://"

_DIED = (
    "its workers died each time that it was tried: it may take more memory than there is, or one "
    "of its pictures breaks a library"
)
# How often a shard is handed out again whose worker died with it.
_RETRIES = 1
# For Ray's own objects, in bytes, near the least that it takes: what it hands about are numbers.
_STORE = 80 << 20


@dataclass(frozen=True)
class Cluster:
    """An `Engine`."""

    address: str = LOCAL
    """`local` is one on this machine, for this run alone; `ray://HOST:PORT` is asked through Ray's
    client server, `HOST:PORT` from a machine that belongs to it."""
    workers: int | None = None
    """Processes, each of which takes a core of Ray's account; one on each two cores without."""

    def __call__(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Engine`.

        Raises:
            ClusterError: there is no such cluster, or Ray fails.
        """
        scratch = tempfile.mkdtemp(prefix="tritonclip-") if self.address == LOCAL else None
        said = io.StringIO()  # Ray prints there what befalls workers, and the last as it ends
        done: set[int] = set()
        try:
            with redirect_stdout(said), _connected(self.address, scratch) as ray:
                cores = int(ray.cluster_resources().get("CPU", 1))
                workers = self.workers or max(1, cores // 2)
                numbers = [shard.number for shard in shards]
                through = _through_client if self.address.startswith(CLIENT) else _mapped
                for outcome in through(job, numbers, workers):
                    done.add(outcome.shard)
                    yield outcome
            for shard in shards:
                if shard.number not in done:
                    yield Outcome(shard.number, error=f"{shard}: {_DIED}{_last(said.getvalue())}")
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)


def _last(said: str) -> str:
    """The last of what Ray said of workers that died."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("(raylet) ", "")
    lines = [line for line in plain.splitlines() if "died" in line or "memory" in line]
    return f". Ray says: {lines[-1].partition('. ')[0]}" if lines else ""


@contextmanager
def _connected(address: str, scratch: str | None) -> Iterator[Any]:
    """Ray, with a cluster, from which this process is parted in the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of its core, which takes it for an error that a worker might have to be started again.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    own: dict[str, Any] = {}
    if scratch is not None:
        # Then Ray takes loopback for the address of this machine, and listens there alone.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        own = {
            "include_dashboard": False,
            "object_store_memory": _STORE,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": scratch,
        }
    try:
        try:
            import ray

            with _silent():
                ray.init(address, log_to_driver=False, logging_level="error", **own)
        except ModuleNotFoundError as error:
            needed = f'--on needs {error.name}. pip install "tritonclip[bulk]"'
            raise ClusterError(needed) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"no Ray cluster at {address}: {error}") from error
        yield ray
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what Ray's core, which is no Python, writes to standard error as it starts."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _mapped(job: Job, numbers: Sequence[int], workers: int) -> Generator[Outcome, None, None]:
    """Outcomes of the shards with these numbers, by Ray Data in this process's cluster."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Shards whose workers died are told by their having no outcome.
    context.max_errored_blocks = -1

    class Mapped:
        """A worker as Ray Data wants it; the job travels within."""

        def __init__(self) -> None:
            self._worker = Worker(job, workers)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            number, again = divmod(row["item"], 2)
            return asdict(self._worker.work(number, is_begun=bool(again)))

    rows = [2 * number for number in numbers] + [2 * number + 1 for number in numbers]
    with warnings.catch_warnings():
        # Ray is about to take this by another way, which there is not yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Mapped,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            max_task_retries=_RETRIES,
        )
    try:
        for outcome in outcomes.iter_rows():
            yield Outcome(**outcome)
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray failed: {error}") from error


def _through_client(
    job: Job, numbers: Sequence[int], workers: int
) -> Generator[Outcome, None, None]:
    """The same for a process outside of the cluster, where Ray Data does not run."""
    import ray

    class Driver:
        def __init__(self) -> None:
            self._outcomes = _mapped(job, numbers, workers)

        def next(self) -> Outcome | None:
            return next(self._outcomes, None)

    driver = ray.remote(num_cpus=0)(Driver).remote()
    try:
        while (outcome := ray.get(driver.next.remote())) is not None:
            yield outcome
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray failed: {error}") from error
    finally:
        ray.kill(driver)
