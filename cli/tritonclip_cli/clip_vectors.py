"""Vectors of whole clips, or of each of their frames, for `embed`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tritonclip.errors import TritonClipError
from tritonclip_search.errors import VideoError
from tritonclip_search.video import pooled, sample

if TYPE_CHECKING:
    from PIL.Image import Image

    from tritonclip import Client
    from tritonclip.types import FloatArray
    from tritonclip_cli.embedding_files import Writer

Pooling: TypeAlias = Literal["mean", "max", "weighted", "none"]


def write_clips(
    files: Sequence[str],
    client: Client,
    writer: Writer,
    *,
    pool: Pooling,
    fps: float,
    show: Callable[[int], None],
) -> list[TritonClipError]:
    """Write a vector for each clip, or with `none` for each frame, as `clip.mp4#t=12.000`.

    Args:
        files: the clips.
        client: embeds.
        writer: takes the vectors; of NaN where none of a clip's frames can be embedded.
        pool: see `video.pooled`.
        fps: frames a second.
        show: told how many frames were embedded.

    Returns:
        what could not be embedded.
    """
    failed: list[TritonClipError] = []
    sent: deque[tuple[int, float | None]] = deque()  # clips and times; None ends a clip
    vectors: list[FloatArray] = []

    def frames() -> Iterator[Image]:
        for place, file in enumerate(files):
            try:
                for frame in sample(file, fps):
                    sent.append((place, frame.time))
                    yield frame.image
            except VideoError as error:
                failed.append(VideoError(f"{file}: {error}"))
            sent.append((place, None))

    def end_clips() -> None:
        while sent and sent[0][1] is None:
            place, _ = sent.popleft()
            if pool != "none":
                nothing = np.full(client.info().dim, np.nan, np.float32)
                vector = pooled(np.stack(vectors), pool) if vectors else nothing
                writer.write(files[place], vector)
            vectors.clear()

    for count, vector in enumerate(client.stream_images(frames(), on_error=failed.append), 1):
        end_clips()
        place, time = sent.popleft()
        if not np.isnan(vector[0]):
            if pool == "none":
                writer.write(f"{files[place]}#t={time:.3f}", vector)
            vectors.append(vector)
        show(count)
        end_clips()
    end_clips()
    return failed
