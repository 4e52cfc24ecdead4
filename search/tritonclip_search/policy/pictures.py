"""Pictures with their vectors: embedded now, or as a collection has them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, islice

from tritonclip import Client
from tritonclip.cancellation import Cancellation
from tritonclip.errors import InvalidInput
from tritonclip.types import ImageInput
from tritonclip.window import in_order
from tritonclip_search.collection import Collection
from tritonclip_search.errors import SourceError, reason_of
from tritonclip_search.policy.crops import CROPS, crops, mean, opened
from tritonclip_search.policy.footage import frames_of
from tritonclip_search.policy.picture import Picture
from tritonclip_search.records import Kind
from tritonclip_search.sources.item import SUFFIXES, Item, Problem, is_video
from tritonclip_search.sources.opening import open_source

_THREADS = 8  # most of their time goes into waiting for a disk or a network
_AHEAD = 64


def from_files(
    names: Iterable[str],
    client: Client,
    on_problem: Callable[[Problem], object],
    *,
    in_crops: bool = False,
) -> Iterator[Picture]:
    """Pictures in files, folders, globs, shards and at URLs, embedded as they are read.

    Of videos, a frame a second; they come behind the pictures.

    Args:
        names: where they are.
        client: embeds.
        on_problem: told of each file that cannot be read or embedded.
        in_crops: make each vector the mean over five crops; see `crops`.

    Raises:
        SourceError: one of `names` does not exist, or there is no picture in all of them.
    """
    items = _listed(names, on_problem)
    pictures = [item for item in items if not is_video(item.path)]
    yield from _embedded(pictures, client, on_problem, in_crops=in_crops)
    for item in items:
        if is_video(item.path):
            yield from frames_of(item.path, client, on_problem)


def sampled(
    names: Iterable[str], count: int, limit: int, on_problem: Callable[[Problem], object]
) -> list[bytes]:
    """The bytes of up to `count` files, spread evenly over all that `from_files` would find.

    Args:
        names: where they are.
        count: how many.
        limit: bytes of which a file is not more; larger ones are problems.
        on_problem: told of each file that cannot be read.

    Raises:
        SourceError: as `from_files`.
    """
    items = [item for item in _listed(names, on_problem) if not is_video(item.path)]
    some = items[:: max(1, len(items) // count)][:count]
    files = []
    for _, encoded, _ in _read(some, limit):
        if isinstance(encoded, bytes):
            files.append(encoded)
        else:
            on_problem(encoded)
    return files


def from_collection(collection: Collection, where: str | None = None) -> Iterator[Picture]:
    """Pictures of a collection, and frames of its videos, with the vectors that it holds."""
    for record in collection.embedded(where):
        if record.kind in (Kind.IMAGE, Kind.FRAME):  # a mean over frames would hide the few
            assert record.vector is not None
            yield Picture(record.path, record.sha256, record.vector, record.start, record.end)


def _listed(names: Iterable[str], on_problem: Callable[[Problem], object]) -> list[Item]:
    named = list(names)
    items: list[Item] = []
    problems = 0
    for name in named:
        for found in open_source(name).items():
            if isinstance(found, Item):
                items.append(found)
            else:
                problems += 1
                on_problem(found)
    if not items and not problems:
        raise SourceError(
            f"no pictures in {', '.join(named)}; looked for files that end in {', '.join(SUFFIXES)}"
        )
    return items


def _embedded(
    items: Sequence[Item],
    client: Client,
    on_problem: Callable[[Problem], object],
    *,
    in_crops: bool,
) -> Iterator[Picture]:
    each = CROPS if in_crops else 1
    waiting: deque[tuple[str, str]] = deque()  # path and hash of those whose vectors are in flight
    reasons: dict[int, str] = {}

    def note(error: InvalidInput) -> None:
        reasons[(error.index or 0) // each] = error.reason

    def sent() -> Iterator[ImageInput]:
        with closing(_read(items, client.info().max_image_bytes)) as reads:
            for path, encoded, sha256 in reads:
                if not isinstance(encoded, bytes):
                    on_problem(encoded)
                    continue
                inputs: list[ImageInput] = [encoded]
                if in_crops:
                    try:
                        inputs = [*crops(opened(encoded))]
                    except (OSError, ValueError, SyntaxError) as error:
                        on_problem(Problem(path, f"not an image: {error}"))
                        continue
                waiting.append((path, sha256))
                yield from inputs

    vectors = client.stream_images(sent(), on_error=note)
    for position in count():
        some = list(islice(vectors, each))
        if not some:
            return
        path, sha256 = waiting.popleft()
        if (reason := reasons.pop(position, None)) is not None:
            on_problem(Problem(path, reason))
        else:
            yield Picture(path, sha256, mean(some) if in_crops else some[0])


def _read(
    items: Sequence[Item], limit: int
) -> Generator[tuple[str, bytes | Problem, str], None, None]:
    """The path, the bytes or what is wrong, and the hash of each, in order, read by threads.

    As the indexer reads, without opening each picture for what it says about itself.
    """

    def read(item: Item, _: Cancellation | None) -> tuple[str, bytes | Problem, str]:
        try:
            encoded = item.read(limit + 1)
        except (OSError, SourceError) as error:
            return item.path, Problem(item.path, f"cannot be read: {reason_of(error)}"), ""
        if len(encoded) > limit:
            why = f"it has more than the {limit:,} bytes that the server takes"
            return item.path, Problem(item.path, why), ""
        return item.path, encoded, hashlib.sha256(encoded).hexdigest()

    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="tritonclip-read") as pool,
        closing(in_order(iter(items), read, pool, _AHEAD, Cancellation())) as reads,
    ):
        yield from reads
