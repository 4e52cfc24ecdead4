"""How long small requests wait while others send what takes long.

    python -m benchmarks.studies.fairness before=REPOSITORY after=REPOSITORY

Each repository's server is given one crowd after the other: huge pictures, photographs, long texts,
and all of it mixed with small requests. Meanwhile somebody sends a small picture and a short text
in turns, one at a time, and waits for each answer, which is compared with the one that
came while nobody else was there. Counted: the mean and the longest of these waits, and how long the
crowd itself took.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import record
from tritonclip import Client
from tritonclip_export.samples import sample_images
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

SMALL = min(sample_images(), key=lambda file: file.stat().st_size)
CALM_SECONDS = 3.0
PAUSE = 0.02

Send = Callable[[Client], object]


def huge() -> bytes:
    """Of 88 megapixels in 280 KB, just within the limit."""
    image = Image.new("CMYK", (9400, 9400), (10, 20, 30, 0))
    return _encoded(image, "TIFF", compression="tiff_lzw")


def photograph() -> bytes:
    """Of 12 megapixels, as a telephone takes them."""
    with Image.open(max(sample_images(), key=lambda file: file.stat().st_size)) as image:
        return _encoded(image.convert("RGB").resize((4000, 3000)), "JPEG", quality=90)


def long_text(number: int) -> str:
    """Of nearly 128 KiB."""
    return f"{number} " + "a photo of a cat \u2019 caf\u00e9 &amp; " * 3900


def crowds(scale: float) -> Mapping[str, list[Send]]:
    """What many callers send at once, by name."""
    big, photo = huge(), photograph()

    def count(number: int) -> range:
        return range(max(2, round(number * scale)))

    def picture(encoded: bytes, items: int = 1) -> Send:
        return lambda client: client.embed_images([encoded] * items)

    def text(number: int) -> Send:
        return lambda client: client.embed_texts([long_text(number)])

    small = SMALL.read_bytes()
    mixed = [picture(small, 16) for _ in count(400)]
    mixed += [picture(photo) for _ in count(24)] + [picture(big) for _ in count(4)]
    mixed += [text(1000 + i) for i in count(12)]
    random.Random(24).shuffle(mixed)
    return {
        "huge pictures, 64": [picture(big) for _ in count(64)],
        "photographs, 128 in requests of 16": [picture(photo, 16) for _ in count(8)],
        "long texts, 64": [text(i) for i in count(64)],
        "all kinds, of 64 callers": mixed,
    }


def waits(repository: Path, scale: float) -> Iterator[dict[str, Any]]:
    """For each crowd at a server of `repository`, what a small request waits."""
    with Server(repository, ports=Ports(0, 0, 0)) as server, Client(server.grpc_url) as client:
        with _asking(client) as alone:
            time.sleep(CALM_SECONDS)
        yield {"crowd": "nobody", **_spread(alone)}
        for name, requests in crowds(scale).items():
            with _asking(client) as small, ThreadPoolExecutor(64) as callers:
                start = time.monotonic()
                with Client(server.grpc_url, concurrency=64, timeout=300) as other:
                    for sent in [callers.submit(send, other) for send in requests]:
                        sent.result()
                taken = time.monotonic() - start
            yield {"crowd": name, "seconds": round(taken, 1), **_spread(small)}


@contextmanager
def _asking(client: Client) -> Iterator[list[float]]:
    """Ask again and again until the block ends; the seconds that each answer took."""
    picture, seconds = SMALL.read_bytes(), []
    expected = client.embed_images(picture)
    done = threading.Event()

    def ask() -> None:
        for number in range(10**9):
            start = time.monotonic()
            if number % 2:
                client.embed_texts(f"a photo of {time.monotonic_ns()} cats")
            else:
                vector = client.embed_images(picture)
                np.testing.assert_allclose(vector, expected, atol=1e-6)
            seconds.append(time.monotonic() - start)
            if done.wait(PAUSE):
                return

    with ThreadPoolExecutor(1) as one:
        asked = one.submit(ask)
        try:
            yield seconds
        finally:
            done.set()
        asked.result()


def _spread(seconds: list[float]) -> dict[str, float]:
    values = np.array(seconds)
    return {
        "answers": len(values),
        "mean_s": round(float(values.mean()), 3),
        "p99_s": round(float(np.quantile(values, 0.99)), 3),
        "longest_s": round(float(values.max()), 3),
    }


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def main() -> None:
    """Measure each repository, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repositories", nargs="+", metavar="LABEL=REPOSITORY")
    parser.add_argument("--scale", type=float, default=1.0, help="of the crowds")
    options = parser.parse_args()
    figures: dict[str, Any] = {"scale": options.scale, "rows": []}
    for given in options.repositories:
        label, _, repository = given.partition("=")
        for row in waits(Path(repository).absolute(), options.scale):
            print(json.dumps({"version": label, **row}), flush=True)
            figures["rows"].append({"version": label, **row})
    figures["load_average"] = round(os.getloadavg()[0], 1)
    print(record.save("fairness", figures))


if __name__ == "__main__":
    main()
