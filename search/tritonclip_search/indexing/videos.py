"""Videos on their way into a store: frames out to be embedded, segments in as they end.

A video's own record is written last. Where an indexer dies before, the next one finds the segments
that are there, and goes on where the last of them ends.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from tritonclip.types import FloatArray
from tritonclip_search.errors import SourceError, VideoError, reason_of
from tritonclip_search.filters import And, OneOf
from tritonclip_search.indexing.batch import Batch
from tritonclip_search.indexing.report import Position, Report
from tritonclip_search.records import Kind, Record, file_id, folders_of, frame_id, moment_id
from tritonclip_search.sources.item import Item, Problem
from tritonclip_search.stores.store import Store
from tritonclip_search.video.damage import Damage
from tritonclip_search.video.file import Video
from tritonclip_search.video.pooling import unit
from tritonclip_search.video.sampling import sample_video
from tritonclip_search.video.segmenting import Segment, Segmenter

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = 2**20


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are embedded."""

    fps: float = 1.0
    fast: bool = False
    """Keyframes only; see `video.sample`."""


class Recognise(Protocol):
    """What an indexer knows about bytes that it has seen before."""

    def __call__(self, item: Item, sha256: str) -> bool:
        """Whether they were embedded, here or elsewhere, so that nothing is left to do."""


@dataclass(eq=False)
class _Track:
    """One video on its way."""

    record: Record
    """Of the whole, without its vector."""
    duration: float
    segmenter: Segmenter = field(default_factory=Segmenter)
    sum: FloatArray | None = None
    """Of its frames so far, by the seconds for which each stands."""
    resumed: float = 0.0
    end: float = 0.0
    reason: str = ""
    """Why nothing of it can be embedded."""
    has_changed: bool = False

    def add(self, seconds: float, vector: FloatArray) -> None:
        weighted = vector * np.float32(seconds)
        self.sum = weighted if self.sum is None else self.sum + weighted


class Videos:
    """Drive it by sending what `frames` gives, and telling `take` the answers."""

    def __init__(
        self,
        store: Store,
        name: str,
        batch: Batch,
        report: Report,
        precision: str,
        *,
        recognise: Recognise,
        on_position: Callable[[Position | None], object],
        sampling: Sampling,
    ) -> None:
        """Write into the collection `name`.

        Args:
            store: has the collection.
            name: the collection.
            batch: takes the records.
            report: is told what became of each video.
            precision: of the towers that embed.
            recognise: asked about the bytes of each.
            on_position: told after each frame, and None after each video.
            sampling: which frames.
        """
        self._store = store
        self._name = name
        self._batch = batch
        self._report = report
        self._precision = precision
        self._recognise = recognise
        self._tell = on_position
        self._sampling = sampling
        self._waiting: deque[tuple[_Track, float | None]] = deque()

    def frames(self, items: Sequence[Item], known: set[str]) -> Generator[Image, None, None]:
        """The frames to be embedded of `items`, of which the paths in `known` have records."""
        for item in items:
            try:
                with item.open() as file:
                    sha256 = _sha256(file)
                    if not self._recognise(item, sha256):
                        file.seek(0)
                        yield from self._frames_of(item, file, sha256, item.path in known)
                        continue
            except (OSError, SourceError) as error:
                self._report.failed.append(
                    Problem(item.path, f"cannot be read: {reason_of(error)}")
                )
            self._tell(None)

    def take(self, vector: FloatArray, error: str) -> None:
        """The vector of the next frame, in the order of `frames`, or why it has none."""
        self._finish_first()
        track, time = self._waiting.popleft()
        assert time is not None
        if error:
            self._note(track.record.path, Damage(time, time, f"cannot be embedded: {error}"))
        elif (over := track.segmenter.add(time, vector)) is not None:
            self._write(track, over)
        end = max(track.duration, time)
        self._tell(Position(track.record.path, time, end, time - track.resumed))
        self._finish_first()

    def finish(self) -> None:
        """Every answer was taken."""
        self._finish_first()

    def _frames_of(
        self, item: Item, file: BinaryIO, sha256: str, has_changed: bool
    ) -> Iterator[Image]:
        track = _Track(_record(item, sha256, self._precision), 0.0, has_changed=has_changed)
        try:
            with Video(file, lambda damage: self._note(item.path, damage)) as video:
                track.record = replace(
                    track.record,
                    width=video.width,
                    height=video.height,
                    format=video.format,
                    date=video.taken or item.modified,
                )
                track.duration = video.duration
                self._resume(track)
                sampling = self._sampling
                for frame in sample_video(
                    video, sampling.fps, start=track.resumed, fast=sampling.fast
                ):
                    self._waiting.append((track, frame.time))
                    yield frame.image
                track.end = video.end
        except VideoError as error:
            track.reason = str(error)
        self._waiting.append((track, None))

    def _resume(self, track: _Track) -> None:
        """Take up what is there of the same bytes."""
        own = And((OneOf("file", (track.record.id,)), OneOf("sha256", (track.record.sha256,))))
        kinds = OneOf("kind", (Kind.FRAME.value, Kind.MOMENT.value))
        there = list(self._store.scan(self._name, where=And((own, kinds)), vectors=True))
        track.resumed = max((r.end for r in there if r.kind is Kind.MOMENT), default=0.0)
        for record in there:
            if record.kind is Kind.FRAME and record.start < track.resumed:
                assert record.vector is not None
                track.add(record.end - record.start, record.vector)

    def _finish_first(self) -> None:
        while self._waiting and self._waiting[0][1] is None:
            self._finish(self._waiting.popleft()[0])

    def _finish(self, track: _Track) -> None:
        record = track.record
        if (last := track.segmenter.finish(track.end)) is not None:
            self._write(track, last)
        if track.sum is None:
            reason = track.reason or "not one of its frames can be embedded"
            self._report.unreadable.append(Problem(record.path, reason))
            self._batch.add(replace(record, error=reason))
        else:
            end = max(track.end, track.resumed)
            self._batch.add(replace(record, end=end, vector=unit(track.sum)))
            if track.has_changed:
                self._report.changed += 1
            else:
                self._report.added += 1
        self._batch.write()
        own = OneOf("file", (record.id,))
        stale = [
            one.id for one in self._store.scan(self._name, where=own) if one.sha256 != record.sha256
        ]
        self._store.delete(self._name, stale)
        self._tell(None)

    def _write(self, track: _Track, segment: Segment) -> None:
        whole = track.record
        for frame in segment.frames:
            track.add(frame.end - frame.start, frame.vector)
            self._batch.add(
                replace(
                    whole,
                    id=frame_id(whole.path, frame.start),
                    kind=Kind.FRAME,
                    start=frame.start,
                    end=frame.end,
                    vector=frame.vector,
                )
            )
        self._batch.add(
            replace(
                whole,
                id=moment_id(whole.path, segment.start, segment.end),
                kind=Kind.MOMENT,
                start=segment.start,
                end=segment.end,
                vector=segment.vector,
            )
        )
        self._report.video_seconds += segment.end - segment.start

    def _note(self, path: str, damage: Damage) -> None:
        self._report.damaged.append(Problem(path, str(damage)))


def _record(item: Item, sha256: str, precision: str) -> Record:
    own = file_id(item.path)
    return Record(
        id=own,
        file=own,
        kind=Kind.VIDEO,
        path=item.path,
        folders=folders_of(item.path),
        size=item.size,
        modified=item.modified,
        sha256=sha256,
        date=item.modified,
        width=0,
        height=0,
        format="",
        precision=precision,
        vector=None,
    )


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
