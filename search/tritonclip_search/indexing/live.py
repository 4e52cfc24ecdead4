"""A live source on its way into a store: segments as they end, and old ones out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from tritonclip import Client
from tritonclip_search.filters import And, Compare, OneOf
from tritonclip_search.records import Kind, Record, file_id, frame_id, moment_id
from tritonclip_search.stores.store import Store
from tritonclip_search.video.live import public_name
from tritonclip_search.video.sampling import Frame
from tritonclip_search.video.segmenting import Segment, Segmenter, Stretch


def follow(
    store: Store,
    name: str,
    client: Client,
    url: str,
    frames: Iterator[Frame],
    *,
    fps: float,
    keep: timedelta | None,
    on_segment: Callable[[Segment], object],
) -> None:
    """Write what `frames` show into the collection `name`, until they end.

    Times are seconds since 1970 UTC. Where nothing came for a while, a segment ends.

    Args:
        store: has the collection.
        name: the collection.
        client: embeds.
        url: of the source; its user and password are not recorded.
        frames: with the times of the clock.
        fps: how many come a second.
        keep: what is older is removed; nothing without.
        on_segment: told after each segment is written.

    Raises:
        TritonClipError: of the server or the store; what was written until then is kept.
    """
    path = public_name(url)
    segmenter = Segmenter()
    last: float | None = None

    def write(segment: Segment | None, width: int, height: int) -> None:
        if segment is None:
            return
        precision = client.info().precision
        store.upsert(name, list(_records(path, segment, width, height, precision)))
        if keep is not None:
            before = Compare("end", "<", time.time() - keep.total_seconds())
            old = And((OneOf("file", (file_id(path),)), before))
            store.delete(name, [record.id for record in store.scan(name, where=old)])
        on_segment(segment)

    size = (0, 0)
    try:
        for frame in frames:
            size = frame.image.size
            # One by one, as they come; a stream of them would wait for its batches to fill.
            vector = client.embed_images(frame.image)
            if last is not None and frame.time - last > max(5.0, 3 / fps):
                write(segmenter.finish(last + 1 / fps), *size)
            write(segmenter.add(frame.time, vector), *size)
            last = frame.time
    finally:
        if last is not None:
            write(segmenter.finish(last + 1 / fps), *size)


def _records(
    path: str, segment: Segment, width: int, height: int, precision: str
) -> Iterator[Record]:
    parts: tuple[Stretch | Segment, ...] = (*segment.frames, segment)
    for part in parts:
        is_segment = part is segment
        began = round(part.start * 1e6)
        make = moment_id(path, part.start, part.end) if is_segment else frame_id(path, part.start)
        yield Record(
            id=make,
            file=file_id(path),
            kind=Kind.MOMENT if is_segment else Kind.FRAME,
            path=path,
            folders=(),
            size=0,
            modified=began,
            sha256="",
            date=began,
            width=width,
            height=height,
            format="",
            start=part.start,
            end=part.end,
            precision=precision,
            vector=part.vector,
        )
