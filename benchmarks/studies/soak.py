"""Whether a server grows: very many requests of changing batch, size and length.

    python -m benchmarks.studies.soak REPOSITORY --requests 1000000

Pictures of a few sizes and now and then a large one, texts from one word to several windows, in
batches of 1 to 32, over gRPC and HTTP. Meanwhile the server's memory, open files, threads and files
in /dev/shm are looked at, and a line is fitted to each from a fifth of the run on, when every kind
of request has come: its slope for 100,000 requests with the interval that holds it in 95 of 100
cases, if what is left over were independent.
"""

from __future__ import annotations

import argparse
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import record
from benchmarks.footprint import Footprint
from tritonclip import Client, TritonClipError
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

CALLERS = 8
LOOK_SECONDS = 2.0
HELD = ("memory_mib", "shared_mib", "files", "threads")


class Requests:
    """What is sent, drawn at random."""

    def __init__(self, seed: int) -> None:
        photos = [Image.open(file).convert("RGB") for file in sample_images()]
        sizes = ((32, 32), (64, 48), (224, 224), (160, 320)) * 3
        formats = ("JPEG", "PNG", "WEBP") * 4
        self._pictures = [
            _encoded(photo.resize(size), format)
            for photo, size, format in zip(photos, sizes, formats, strict=True)
        ]
        self._large = _encoded(photos[0].resize((2500, 2000)), "JPEG")
        self._texts = [text for text in sample_texts() if text]
        self._draw = random.Random(seed)
        self._lock = threading.Lock()

    def one(self) -> Callable[[Client], object]:
        """A request, and how it is sent."""
        with self._lock:
            draw, kind = self._draw, self._draw.random()
            if kind < 0.0005:
                return lambda client: client.embed_images([self._large])
            if kind < 0.4:
                pictures = draw.choices(self._pictures, k=draw.choice((1, 1, 1, 1, 1, 2, 2, 16)))
                return lambda client: client.embed_images(pictures)
            count = draw.choice((1, 1, 1, 1, 2, 2, 4, 32))
            # A number, or the response cache would answer.
            texts = [f"{draw.choice(self._texts)} {draw.random()}" for _ in range(count)]
            if kind < 0.42:  # by a model that calls another
                texts = [" ".join(texts * 4)[:2000]]
                return lambda client: client.embed_texts(texts, long="mean")
            return lambda client: client.embed_texts(texts)


def soak(
    repository: Path, requests: int, seed: int, seconds: float = float("inf")
) -> dict[str, Any]:
    """Send so many requests to a server of `repository`, or what it answers in so many seconds."""
    outcomes: Counter[str] = Counter()
    looks: list[dict[str, float]] = []
    drawn, start = Requests(seed), time.monotonic()
    left = iter(range(requests))
    with Server(repository, ports=Ports(0, 0, 0), log=lambda _: None) as server:

        def send(caller: int) -> Counter[str]:
            outcomes: Counter[str] = Counter()
            look = start
            url = server.grpc_url if caller % 2 else f"http://{server.http_url}"
            with Client(url, batch_size=32) as client:
                for number in left:
                    if time.monotonic() - start > seconds:
                        break
                    try:
                        drawn.one()(client)
                        outcomes["answered"] += 1
                    except TritonClipError as error:
                        outcomes[f"{type(error).__name__}: {error}"] += 1
                    if caller == 0 and time.monotonic() > look:
                        seen = asdict(Footprint.of(repository))
                        held = {name: seen[name] for name in HELD} | seen["each_mib"]
                        looks.append({"requests": number, **held})
                        look = time.monotonic() + LOOK_SECONDS
            return outcomes

        with ThreadPoolExecutor(CALLERS) as callers:
            for outcome in callers.map(send, range(CALLERS)):
                outcomes += outcome
    sent = sum(outcomes.values())
    settled = [look for look in looks if look["requests"] >= sent / 5]
    at = [look["requests"] / 1e5 for look in settled]
    return {
        "seed": seed,
        "requests": sent,
        "seconds": round(time.monotonic() - start),
        "outcomes": dict(outcomes),
        "held": {
            name: _line(at, [look[name] for look in settled])
            for name in settled[-1]
            if name != "requests"
        },
    }


def _line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """First and last value, slope by least squares, and half of its interval of 95 %."""
    a, b = np.asarray(x) - np.mean(x), np.asarray(y)
    slope = float(a @ b / (a @ a))
    rest = b - b.mean() - slope * a
    error = float(np.sqrt(rest @ rest / max(1, len(b) - 2) / (a @ a)))
    return {
        "first": y[0],
        "last": y[-1],
        "most": max(y),
        "slope": round(slope, 3),
        "interval": round(1.96 * error, 3),
    }


def _encoded(image: Image.Image, format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def main() -> None:
    """Soak a server and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    figures = soak(
        options.repository.absolute(), options.requests, options.seed, 60 * options.minutes
    )
    record.report("soak", figures)


if __name__ == "__main__":
    main()
