"""Videos as pictures: a frame a second, each standing for the time until the next."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from tritonclip import Client
from tritonclip.errors import InvalidInput
from tritonclip.types import ImageInput
from tritonclip_search.errors import VideoError
from tritonclip_search.policy.picture import Picture
from tritonclip_search.sources.item import Problem
from tritonclip_search.video.sampling import DEFAULT_FPS, sample


def frames_of(
    path: str, client: Client, on_problem: Callable[[Problem], object]
) -> Iterator[Picture]:
    """The frames of a video, embedded as they are decoded.

    Args:
        path: a file here; for others, index them and decide on the collection.
        client: embeds.
        on_problem: told if it is none, and of each stretch that cannot be looked at.
    """
    if not Path(path).is_file():
        on_problem(
            Problem(path, "is a video, but no file here; index it, and moderate the collection")
        )
        return
    times: deque[float] = deque()
    last = 0.0

    def sent() -> Iterator[ImageInput]:
        for frame in sample(path, on_damage=lambda damage: on_problem(Problem(path, str(damage)))):
            times.append(frame.time)
            yield frame.image

    def note(error: InvalidInput) -> None:
        on_problem(Problem(path, error.reason))

    with Path(path).open("rb") as opened:
        sha256 = hashlib.sha256()
        while part := opened.read(2**20):
            sha256.update(part)
    before: Picture | None = None
    try:
        for vector in client.stream_images(sent(), on_error=note):
            start = times.popleft()
            if before is not None:
                yield _until(before, start)
            broken = bool(vector[0] != vector[0])
            before = None if broken else Picture(path, sha256.hexdigest(), vector, start)
            last = start + 1 / DEFAULT_FPS
    except VideoError as error:
        on_problem(Problem(path, str(error)))
    if before is not None:
        yield _until(before, last)


def _until(picture: Picture, end: float) -> Picture:
    return Picture(picture.path, picture.sha256, picture.vector, picture.start, end)
