"""A server that is sent broken pictures and odd texts, with good requests among them.

    python -m benchmarks.studies.fuzz REPOSITORY --pictures 100000 --texts 100000

32 requests are in flight. Every fourth is a good one that somebody else might have sent: pixels
and token ids are compared bit for bit with those from before, embeddings to their last digits. Of
the rest each is answered with a unit vector, or refused as bad input by its item. Counted, too:
what the server's processes hold in memory and in /dev/shm before and after.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from benchmarks import record
from benchmarks.footprint import Footprint
from stand_ins import mutations
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

IN_FLIGHT = 32
# Sent at first, so that what a server keeps of its first requests is not counted as growth.
WARM_UP = 500
_ITEM = {"IMAGE": "image 0: ", "TEXT": "text 0: "}

Judge = Callable[[triton.InferenceServerClient], str]


def fuzz(
    repository: Path, pictures: int, texts: int, seed: int, seconds: float = float("inf")
) -> dict[str, Any]:
    """Send broken pictures and odd texts to a server of `repository`, of one bundle.

    So many of each, or those that it answers in so many seconds.
    """
    start = time.monotonic()
    with (
        Server(repository, ports=Ports(0, 0, 0), log=lambda _: None) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        name = next(repository.glob("*_zero_shot")).name.removesuffix("_zero_shot")
        good = _good(client, name)
        draw = random.Random(seed)
        Counter(_sent(client, islice(_mixed(name, good, draw, WARM_UP, WARM_UP), WARM_UP)))
        before = Footprint.of(repository)
        jobs = _mixed(name, good, draw, pictures, texts)
        in_time = takewhile(lambda _: time.monotonic() - start < seconds, jobs)
        outcomes = Counter(_sent(client, in_time))
        after = Footprint.of(repository)
        ended = server.wait(0)
    return {
        "seed": seed,
        "pictures": sum(n for name, n in outcomes.items() if name.startswith("picture")),
        "texts": sum(n for name, n in outcomes.items() if name.startswith("text")),
        "in_flight": IN_FLIGHT,
        "seconds": round(time.monotonic() - start),
        "outcomes": dict(outcomes),
        "died": ended or after.pids != before.pids,
        "memory_mib": [before.memory_mib, after.memory_mib],
        "each_mib": {name: [before.each_mib[name], mib] for name, mib in after.each_mib.items()},
        "shared_mib": [before.shared_mib, after.shared_mib],
    }


def _sent(client: triton.InferenceServerClient, jobs: Iterable[Judge]) -> Iterator[str]:
    """What became of each job, never more than `IN_FLIGHT` at a time."""
    waiting: deque[Future[str]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as senders:
        for job in jobs:
            waiting.append(senders.submit(job, client))
            if len(waiting) > 2 * IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _mixed(
    name: str, good: list[Judge], draw: random.Random, pictures: int, texts: int
) -> Iterator[Judge]:
    kinds = ["IMAGE"] * pictures + ["TEXT"] * texts
    draw.shuffle(kinds)
    for number, kind in enumerate(kinds):
        item = mutations.picture(draw) if kind == "IMAGE" else mutations.text(draw)
        yield _odd(name, kind, item)
        if number % 3 == 2:
            yield draw.choice(good)


def _odd(name: str, tensor: str, item: bytes) -> Judge:
    def judge(client: triton.InferenceServerClient) -> str:
        what = "picture" if tensor == "IMAGE" else "text"
        try:
            vector = _ask(client, f"{name}_{tensor.lower()}", tensor, item, "EMBEDDING")
        except InferenceServerException as error:
            refused = "INVALID_ARGUMENT" in str(error.status()) and _ITEM[tensor] in error.message()
            return f"{what} refused" if refused else f"{what}: {error}"
        sound = abs(float(np.linalg.norm(vector)) - 1) < 1e-3
        return f"{what} embedded" if sound else f"{what}: no unit vector"

    return judge


def _good(client: triton.InferenceServerClient, name: str) -> list[Judge]:
    """Requests whose answers are known."""
    pictures = [file.read_bytes() for file in sample_images()]
    texts = [text.encode() for text in sample_texts() if text]
    items = [(f"{name}_image_preprocess", "IMAGE", picture, "PIXELS") for picture in pictures]
    items += [(f"{name}_image", "IMAGE", picture, "EMBEDDING") for picture in pictures]
    items += [(f"{name}_text_tokenize", "TEXT", text, "TOKEN_IDS") for text in texts]
    return [_known(item, _ask(client, *item)) for item in items]


def _known(item: tuple[str, str, bytes, str], expected: Any) -> Judge:
    def judge(client: triton.InferenceServerClient) -> str:
        answer = _ask(client, *item)
        # Sums in another order, as batches of other sizes have them, differ in the last bits.
        exact = item[3] != "EMBEDDING"
        same = (answer == expected).all() if exact else np.allclose(answer, expected, atol=1e-5)
        return "good: right" if same else "good: wrong"

    return judge


def _ask(
    client: triton.InferenceServerClient, model: str, tensor: str, item: bytes, output: str
) -> Any:
    given = triton.InferInput(tensor, [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[item]], np.object_))
    wanted = [triton.InferRequestedOutput(output)]
    return client.infer(model, [given], outputs=wanted, client_timeout=120).as_numpy(output)


def main() -> None:
    """Fuzz a server and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    figures = fuzz(
        options.repository.absolute(),
        options.pictures,
        options.texts,
        options.seed,
        60 * options.minutes,
    )
    record.report("fuzz", figures)


if __name__ == "__main__":
    main()
