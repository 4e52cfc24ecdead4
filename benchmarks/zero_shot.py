"""What zero-shot classification over 1,000 labels costs beside plain embedding.

    python benchmarks/zero_shot.py bundles/ViT-B-32            # eight minutes
    python benchmarks/zero_shot.py bundles/ViT-B-32 --seconds 3 --rounds 3 --concurrency 8

A real server and 640 x 480 JPEGs, one a request. Two ways to classify: `Client.classify`, which
keeps the label embeddings and multiplies in the client, beside `Client.embed_images`; and the
served `NAME_zero_shot`, which gets the labels with every request, beside `NAME_image`, both asked
with ready-made messages. Rounds take each way in turn, another one first each time, so that a drift
of the machine cancels in the ratios.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import record
from label_requests import labels, zero_shot_request
from servers import served
from studies import About, FirstRow, PathRow, ZeroShot
from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import summary, triton, workloads
from tritonclip_export.bench.load import Timing, closed_loop
from tritonclip_export.bench.sending import Send, senders
from tritonclip_export.bench.usage import Meter, server_process
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.repository.execution import Execution

RESULT = record.RESULTS / "zero-shot.json"
FIRST_REPEATS = 3
TOGETHER = 8
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Way:
    """How an image is asked about: `send` takes what `make` gives."""

    name: str
    baseline: str | None
    sends: Sequence[Callable[[Any], object]]
    make: Callable[[], Any]


@dataclass(frozen=True)
class Round:
    """One way in one round."""

    rate: float
    p50_ms: float
    cpu_ms: float


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--concurrency", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    loads = [int(number) for number in options.concurrency.split(",")]
    precision = cast(Precision, options.precision)
    about = About.here(bundle.info.source.reference, precision)
    with served(bundle, Execution(precision=precision)) as server:
        url = server.grpc_url
        study = ZeroShot(
            about=about,
            labels=options.labels,
            first=_first(url, bundle.name, options.labels),
            paths=tuple(row for load in loads for row in _rows(url, bundle.name, load, options)),
        )
    print(study.save(options.result))


def _rows(url: str, bundle: str, concurrency: int, options: argparse.Namespace) -> list[PathRow]:
    with ExitStack() as stack:
        ways = _ways(url, bundle, concurrency, options.labels, stack)
        server = server_process(parse_endpoint(url))
        if server is None:
            raise BenchmarkError("the server's process cannot be found, so its CPU time is unknown")
        rounds: dict[str, list[Round]] = {way.name: [] for way in ways}
        for number in range(options.rounds):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                rounds[way.name].append(_round(way, options.seconds, concurrency, server))
    rows = [_row(way, concurrency, rounds) for way in ways]
    for row in rows:
        ratio = f"{row.ratio.mean:.3f}" if row.ratio else ""
        rate = f"{row.throughput.mean:7.1f}/s  p50 {row.p50_ms:6.1f} ms  CPU {row.cpu_ms:5.1f} ms"
        print(f"{row.path:38} {concurrency:3} in flight {rate}  {ratio}", flush=True)
    return rows


def _ways(url: str, bundle: str, concurrency: int, count: int, stack: ExitStack) -> list[Way]:
    images = workloads.WORKLOADS["jpeg-640x480"]("jpeg-640x480")
    items = [images.item(number) for number in range(images.period or 1)]
    label_set = labels(count, 0)
    endpoint = parse_endpoint(url)
    client = stack.enter_context(Client(url, concurrency=concurrency))
    client.label_embeddings(label_set)
    target = triton.target(endpoint, bundle, "image")
    sends = stack.enter_context(senders(target, concurrency, timeout=_TIMEOUT))
    plain = triton.Requests(endpoint, bundle, images, 1)
    embedding = [plain(number) for number in range(len(items))]
    asking = [zero_shot_request(bundle, item, label_set) for item in items]
    sends[0](asking[0])  # the server embeds the labels
    classify = partial(client.classify, labels=label_set)
    return [
        Way("Client.embed_images", None, [client.embed_images] * concurrency, _turns(items)),
        Way("Client.classify", "Client.embed_images", [classify] * concurrency, _turns(items)),
        Way("NAME_image", None, sends, _turns(embedding)),
        Way("NAME_zero_shot", "NAME_image", sends, _turns(asking)),
    ]


def _turns(items: Sequence[Any]) -> Callable[[], Any]:
    turns, lock = itertools.cycle(items), threading.Lock()

    def make() -> Any:
        with lock:
            return next(turns)

    return make


def _round(way: Way, seconds: float, concurrency: int, server: int) -> Round:
    # As long as requests of the way before may still fill the server's queues.
    timing = Timing(time.monotonic(), max(0.5, seconds / 4), seconds, 1)
    meter, own = Meter([server]), time.process_time()
    log = closed_loop(way.sends, way.make, timing)
    cpu = meter.read().cores * (time.monotonic() - timing.start) + time.process_time() - own
    if failed := next((why for why in log.failures if why), ""):
        raise BenchmarkError(f"{way.name}, {concurrency} in flight: {failed}")
    return Round(
        rate=summary.throughput(log, timing, batch=1).mean,
        p50_ms=1e3 * statistics.median((log.done - log.due).tolist()),
        cpu_ms=1e3 * cpu / len(log.done),
    )


def _row(way: Way, concurrency: int, rounds: dict[str, list[Round]]) -> PathRow:
    mine = rounds[way.name]
    ratios = (
        [a.rate / b.rate for a, b in zip(mine, rounds[way.baseline], strict=True)]
        if way.baseline
        else None
    )
    return PathRow(
        path=way.name,
        baseline=way.baseline,
        concurrency=concurrency,
        throughput=summary.interval([each.rate for each in mine]),
        ratio=summary.interval(ratios) if ratios else None,
        p50_ms=statistics.median(each.p50_ms for each in mine),
        cpu_ms=statistics.median(each.cpu_ms for each in mine),
    )


def _first(url: str, bundle: str, count: int) -> tuple[FirstRow, ...]:
    """Label sets that neither the client nor the server has seen."""
    images = workloads.WORKLOADS["jpeg-640x480"]("jpeg-640x480")
    image, numbers = images.item(0), itertools.count(1)
    target = triton.target(parse_endpoint(url), bundle, "image")
    with Client(url) as client, senders(target, TOGETHER, timeout=_TIMEOUT) as sends:
        client.embed_images(image)

        def by_client() -> None:
            client.classify(image, labels(count, next(numbers)))

        def by_server(together: int) -> None:
            request = zero_shot_request(bundle, image, labels(count, next(numbers)))
            asked: list[Send] = sends[:together]
            with ThreadPoolExecutor(together) as threads:
                list(threads.map(lambda send: send(request), asked))

        rows = (
            ("Client.classify", 1, by_client),
            ("NAME_zero_shot", 1, partial(by_server, 1)),
            ("NAME_zero_shot", TOGETHER, partial(by_server, TOGETHER)),
        )
        found = []
        for path, requests, ask in rows:
            seconds = summary.interval([_seconds(ask) for _ in range(FIRST_REPEATS)])
            print(f"{path}, {requests} first requests: {seconds.mean:.2f} s", flush=True)
            found.append(FirstRow(path=path, requests=requests, seconds=seconds))
        return tuple(found)


def _seconds(ask: Callable[[], None]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
