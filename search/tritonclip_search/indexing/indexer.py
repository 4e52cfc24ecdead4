"""Bringing a collection up to date."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from tritonclip import Client
from tritonclip.errors import InvalidInput
from tritonclip_search.filters import Filter, OneOf, both
from tritonclip_search.indexing.batch import Batch
from tritonclip_search.indexing.reading import Read, read_all
from tritonclip_search.indexing.report import OnProgress, Position, Progress, Report
from tritonclip_search.indexing.videos import Sampling, Videos
from tritonclip_search.records import Kind, Record, file_id, folders_of, frame_id, moment_id
from tritonclip_search.sources.item import Item, Problem, Source, is_video
from tritonclip_search.sources.opening import is_gone
from tritonclip_search.stores.store import Store
from tritonclip_search.video.file import has_decoder

_FILES = OneOf("kind", (Kind.IMAGE.value, Kind.VIDEO.value))
_EMBEDDED = OneOf("error", ("",))
# Files that are looked up in the store at a time.
_CHUNK = 64


def index(
    store: Store,
    name: str,
    client: Client,
    sources: Sequence[Source],
    *,
    prune: bool = False,
    retry: bool = False,
    sampling: Sampling | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Report:
    """Bring the collection `name` up to date with `sources`.

    Args:
        store: has the collection, whose space is the client's.
        name: the collection.
        client: embeds.
        sources: what it should hold; what it holds from elsewhere is left alone.
        prune: remove what has vanished from the sources.
        retry: try again what could not be embedded, though it has not changed.
        sampling: which frames of videos; one a second without.
        on_progress: told after each file, and after each frame of a video.

    Raises:
        TritonClipError: of the server or the store; what was embedded until then is kept.
    """
    indexer = _Indexer(store, name, client, sampling or Sampling(), on_progress)
    return indexer.run(sources, prune=prune, retry=retry)


class _Indexer:
    def __init__(
        self,
        store: Store,
        name: str,
        client: Client,
        sampling: Sampling,
        on_progress: OnProgress,
    ) -> None:
        self._store = store
        self._name = name
        self._client = client
        self._info = client.info()
        self._sampling = sampling
        self._on_progress = on_progress
        self._total = self._done = 0
        self._report = Report()
        self._batch = Batch(store, name)
        self._known: dict[str, tuple[int, int]] = {}  # path -> size, modified
        self._vanished: dict[str, list[str]] = {}  # hash -> paths

    def run(self, sources: Sequence[Source], *, prune: bool, retry: bool) -> Report:
        report = self._report
        where = both(_FILES, _EMBEDDED) if retry else _FILES
        self._known = {
            record.path: (record.size, record.modified)
            for record in self._store.scan(self._name, where=where)
        }
        fresh, unseen = self._look(sources)
        vanished = [p for p in unseen if any(s.covers(p) for s in sources) and is_gone(p)]
        if fresh:
            self._recall(vanished)
            self._total = len(fresh)
            try:
                self._embed([item for item in fresh if not is_video(item.path)])
                self._embed_videos([item for item in fresh if is_video(item.path)])
            finally:
                self._batch.write()
        moved = {path for path in vanished if path not in self._known}
        report.vanished = [path for path in vanished if path not in moved]
        if prune:
            self._remove(report.vanished)
        if fresh or report.removed:
            self._store.settle(self._name)
        return report

    def _look(self, sources: Sequence[Source]) -> tuple[list[Item], list[str]]:
        """Files that are new or seem changed, and the paths of known ones that were not seen."""
        fresh: dict[str, Item] = {}
        unseen = dict.fromkeys(self._known)
        for source in sources:
            for found in source.items():
                if isinstance(found, Problem):
                    self._report.failed.append(found)
                    continue
                unseen.pop(found.path, None)
                if found.modified and self._known.get(found.path) == (found.size, found.modified):
                    self._report.unchanged += 1
                else:
                    fresh[found.path] = found
        return list(fresh.values()), list(unseen)

    def _recall(self, vanished: Sequence[str]) -> None:
        """What the bytes of the vanished files were, as they may be elsewhere now."""
        for record in self._recorded("id", [file_id(path) for path in vanished]):
            if not record.error:
                self._vanished.setdefault(record.sha256, []).append(record.path)

    def _embed(self, fresh: Sequence[Item]) -> None:
        waiting: deque[Record] = deque()  # whose vectors are in flight
        reasons: dict[int, str] = {}

        def note(error: InvalidInput) -> None:
            reasons[error.index or 0] = error.reason

        def sent() -> Iterator[bytes]:
            with closing(read_all(fresh, self._info.max_image_bytes)) as reads:
                while chunk := list(islice(reads, _CHUNK)):
                    for read in self._without_vectors(chunk):
                        if read is None:
                            self._advance()
                        else:
                            waiting.append(read.record(self._info.precision))
                            yield read.encoded

        for position, vector in enumerate(self._client.stream_images(sent(), on_error=note)):
            record = waiting.popleft()
            if (reason := reasons.pop(position, None)) is not None:
                self._report.unreadable.append(Problem(record.path, reason))
                self._batch.add(replace(record, error=reason))
            else:
                if record.path in self._known:
                    self._report.changed += 1
                else:
                    self._report.added += 1
                self._batch.add(replace(record, vector=vector))
            self._advance()

    def _embed_videos(self, fresh: Sequence[Item]) -> None:
        if not fresh:
            return
        if not has_decoder():
            reason = f'{len(fresh):,} videos need PyAV. pip install "tritonclip[video]"'
            self._report.failed.append(Problem(fresh[0].path, reason))
            return
        reasons: dict[int, str] = {}

        def note(error: InvalidInput) -> None:
            reasons[error.index or 0] = error.reason

        def tell(position: Position | None) -> None:
            if position is None:
                self._advance()
            else:
                self._on_progress(Progress(self._total, self._done, position))

        videos = Videos(
            self._store,
            self._name,
            self._batch,
            self._report,
            self._info.precision,
            recognise=self._recognise,
            on_position=tell,
            sampling=self._sampling,
        )
        frames = videos.frames(fresh, set(self._known))
        with closing(frames):
            for position, vector in enumerate(self._client.stream_images(frames, on_error=note)):
                videos.take(vector, reasons.pop(position, ""))
        videos.finish()

    def _recognise(self, item: Item, sha256: str) -> bool:
        """Whether a video is recorded, here or where it has vanished, as it is now."""
        if item.path in self._known:
            where = OneOf("file", (file_id(item.path),))
            recorded = list(self._store.scan(self._name, where=where, vectors=True))
            if any(one.kind is Kind.VIDEO and one.sha256 == sha256 for one in recorded):
                for old in recorded:
                    self._batch.add(_as_now(old, item, taken=0))
                self._report.unchanged += 1
                return True
        if paths := self._vanished.get(sha256):
            self._move(paths.pop(), item)
            return True
        return False

    def _advance(self) -> None:
        self._done += 1
        self._on_progress(Progress(self._total, self._done))

    def _without_vectors(self, chunk: Sequence[Read | Problem]) -> Iterator[Read | None]:
        """What has to be embedded; None for each of the others, which is dealt with."""
        reads = [read for read in chunk if isinstance(read, Read)]
        self._report.failed.extend(read for read in chunk if isinstance(read, Problem))
        yield from [None] * (len(chunk) - len(reads))
        known = [read.id for read in reads if read.item.path in self._known]
        recorded = {one.id: one for one in self._recorded("id", known, vectors=True)}
        for read in reads:
            old = recorded.get(read.id)
            if old is not None and old.sha256 == read.facts.sha256:
                self._batch.add(_as_now(old, read.item, read.facts.taken))
                self._report.unchanged += 1
                yield None
            elif paths := self._vanished.get(read.facts.sha256):
                self._move(paths.pop(), read.item, read.facts.taken)
                yield None
            else:
                yield read

    def _move(self, path: str, item: Item, taken: int = 0) -> None:
        """Write what is recorded of a file that has vanished under the path where it is now."""
        own = file_id(item.path)
        for old in self._recorded("file", [file_id(path)], vectors=True):
            new = replace(_as_now(old, item, taken), id=own, file=own, path=item.path)
            new = replace(new, folders=folders_of(new.path))
            if old.kind is Kind.MOMENT:
                new = replace(new, id=moment_id(new.path, old.start, old.end))
            elif old.kind is Kind.FRAME:
                new = replace(new, id=frame_id(new.path, old.start))
            self._batch.add(new, instead_of=old.id)
        del self._known[path]
        self._report.moved += 1

    def _remove(self, paths: Sequence[str]) -> None:
        for some in _chunks([file_id(path) for path in paths]):
            gone = [record.id for record in self._recorded("file", some)]
            self._store.delete(self._name, gone)
            self._report.removed += len(some)

    def _recorded(
        self, field: str, values: Sequence[str], *, vectors: bool = False
    ) -> Iterator[Record]:
        for some in _chunks(values):
            where: Filter = OneOf(field, tuple(some))
            yield from self._store.scan(self._name, where=where, vectors=vectors)


def _as_now(old: Record, item: Item, taken: int) -> Record:
    """As the file is now; `taken` is what its EXIF says."""
    is_dated = old.date != old.modified and old.kind is not Kind.IMAGE
    date = old.date if is_dated else taken or item.modified
    return replace(old, size=item.size, modified=item.modified, date=date)


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(values), 500):
        yield values[begin : begin + 500]
