"""The engine of one machine: this process, without a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tritonclip_bulk.plan import Shard
from tritonclip_bulk.worker import Job, Outcome, Worker

# Shards at a time: while one is written, or waits for its last batches, another has work to give.
_AT_ONCE = 2


def here(job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
    """See `Engine`."""
    worker = Worker(job, 1)
    left = iter(shards)
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tritonclip-bulk") as pool:
        try:
            while True:
                for shard in left:
                    running.add(pool.submit(worker.work, shard.number))
                    if len(running) == _AT_ONCE:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            worker.close()
