"""A server whose processes are killed and stopped at random, under load.

    python -m benchmarks.studies.breakdowns REPOSITORY --minutes 20

Every part in turn, then at random (a stub, all stubs, tritonserver, its keeper; killed, or stopped
as if it hung), while clients over gRPC and HTTP embed pictures and texts and compare each answer
with the one before all that. Counted: answers, typed errors, wrong answers, the longest wait; the
time from each fault until both protocols embed again; what is left in the end.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.processes import KEEPER, SERVER, processes_of, shared_memory
from tritonclip import Client, TritonClipError
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_export.server.tritonserver import STUB

A_STUB = "one of those that every request passes"
FAULTS = {
    "a stub is killed": (A_STUB, signal.SIGKILL),
    "a stub hangs": (A_STUB, signal.SIGSTOP),
    "all stubs are killed": (STUB, signal.SIGKILL),
    "tritonserver is killed": (SERVER, signal.SIGKILL),
    "tritonserver hangs": (SERVER, signal.SIGSTOP),
    "the keeper is killed": (KEEPER, signal.SIGKILL),
}
BROKEN = ("_image_preprocess", "_image_encoder", "_text_tokenize", "_text_encoder")
TIMEOUT = 60.0
# The keeper gives a server up after ten breakdowns in a row, each within half a minute of a start,
# and tritonserver 2.51 may break by itself when a client goes away, see docs/reliability.md.
IN_A_ROW, CALM_SECONDS = 5, 31.0


@dataclass
class Load:
    """What callers got."""

    outcomes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, url: str, seed: int) -> None:
        """Embed, one request after the other, until told to stop."""
        images = [path.read_bytes() for path in sample_images()]
        texts = [text for text in sample_texts() if text]
        with Client(url, timeout=TIMEOUT) as client:
            kinds: list[tuple[Callable[..., Any], list[Any]]] = [
                (client.embed_images, images),
                (client.embed_texts, texts),
            ]
            expected = [[embed(item) for item in items] for embed, items in kinds]
            draw = random.Random(seed)
            while not self.stop.is_set():
                kind = draw.randrange(2)
                embed, items = kinds[kind]
                i = draw.randrange(len(items))
                start = time.monotonic()
                try:
                    outcome = _judge(embed(items[i]), expected[kind][i])
                except TritonClipError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                self.longest_s = max(self.longest_s, time.monotonic() - start)


def _judge(answer: Any, expected: Any) -> str:
    # Sums in another order, as batches of other sizes have them, differ in the last bits.
    return "right" if np.allclose(answer, expected, atol=1e-5) else "wrong"


def breakdowns(repository: Path, seconds: float, seed: int, workers: int = 4) -> dict[str, Any]:
    """Break a server of `repository` for so long; see the module."""
    draw, load = random.Random(seed), Load()
    recoveries: dict[str, list[float]] = defaultdict(list)
    said: list[str] = []
    server = Server(repository, ports=Ports(0, 0, 0), restart=True, log=said.append)
    with server, ThreadPoolExecutor(1 + workers) as pool:
        watching = pool.submit(server.wait)  # as `serve` does
        urls = server.grpc_url, f"http://{server.http_url}"
        callers = [pool.submit(load.run, urls[i % 2], seed + i) for i in range(workers)]
        _await_embeddings(urls, 0.0)
        end, order = time.monotonic() + seconds, list(FAULTS)
        for turn in count():
            fault = order[turn] if turn < len(order) else draw.choice(order)
            start, restarts = time.monotonic(), _restarts(said)
            _break(repository, *FAULTS[fault], draw)
            # A model with two stubs may answer until the keeper starts both anew.
            while _restarts(said) == restarts and time.monotonic() - start < TIMEOUT:
                time.sleep(0.01)
            _await_embeddings(urls, start)
            if watching.done() or _restarts(said) == restarts:
                raise RuntimeError("\n".join(["not started again:", *said[-20:]]))
            recoveries[fault].append(time.monotonic() - start)
            if time.monotonic() > end:
                break
            calm = (turn + 1) % IN_A_ROW == 0
            time.sleep(CALM_SECONDS if calm else draw.uniform(0.5, 5.0))
        load.stop.set()
        for caller in callers:
            caller.result()
        shared = shared_memory(processes_of(repository))
        server.stop()
        watching.result()
    return {
        "seed": seed,
        "seconds": round(seconds),
        "requests": dict(load.outcomes),
        "longest_s": round(load.longest_s, 2),
        "restarts": _restarts(said),
        "recoveries_s": {k: [round(s, 2) for s in v] for k, v in recoveries.items()},
        "left": _left(repository, shared),
    }


def _restarts(said: list[str]) -> int:
    return sum(line.endswith(("starting the server again", "starting both again")) for line in said)


def _await_embeddings(urls: tuple[str, str], since: float) -> None:
    """Wait until both protocols embed what no cache knows."""
    for url in urls:
        while time.monotonic() - since < 120 or not since:
            with Client(url, timeout=5.0, retries=0) as client:
                try:
                    client.embed_texts(f"again {time.monotonic_ns()}")
                    client.embed_images(np.frombuffer(os.urandom(192), np.uint8).reshape(8, 8, 3))
                except TritonClipError:
                    time.sleep(0.05)
                else:
                    break


def _break(repository: Path, part: str, number: int, draw: random.Random) -> None:
    processes = processes_of(repository)
    chosen = [process for process in processes if process.part == part]
    if part == A_STUB:
        needed = [each for each in processes if each.part == STUB and each.model.endswith(BROKEN)]
        chosen = [draw.choice(needed)]
    for process in chosen:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _left(repository: Path, shared: str) -> list[str]:
    regions = Path("/dev/shm").glob(f"{shared}*")
    return [*(process.part for process in processes_of(repository)), *map(str, regions)]


def main() -> None:
    """Break a server and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    figures = breakdowns(options.repository.absolute(), options.minutes * 60, options.seed)
    for fault, seconds in figures["recoveries_s"].items():
        print(f"{fault}: {statistics.median(seconds):.1f} s, {max(seconds):.1f} s at most")
    record.report("breakdowns", figures)


if __name__ == "__main__":
    main()
