"""A collection of pictures and videos that is indexed, searched, tagged and weeded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from types import TracebackType
from typing import Literal, NoReturn, TypeAlias

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip.scoring import probabilities
from tritonclip.types import FloatArray, ImageInput
from tritonclip_search import filters
from tritonclip_search.errors import CollectionNotFound, SourceError
from tritonclip_search.filters import And, Filter, OneOf
from tritonclip_search.groups import Threshold, find_threshold, group
from tritonclip_search.hits import Hit, folded, scored
from tritonclip_search.indexing.indexer import index
from tritonclip_search.indexing.live import follow
from tritonclip_search.indexing.report import OnProgress, Report
from tritonclip_search.indexing.videos import Sampling
from tritonclip_search.queries import Query
from tritonclip_search.records import Kind, Record, matrix
from tritonclip_search.sources.item import MEDIA_SUFFIXES, Source
from tritonclip_search.sources.opening import open_source
from tritonclip_search.space import Description, Space, VectorType
from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.store import Method, Store, check_name
from tritonclip_search.stores.url import StoreUrl
from tritonclip_search.video.course import Course, course
from tritonclip_search.video.live import watch
from tritonclip_search.video.moments import clips, moments
from tritonclip_search.video.sampling import DEFAULT_FPS, check_fps
from tritonclip_search.video.segmenting import Segment

DEFAULT_NAME = "pictures"

# Pictures that are altered to find a threshold; ids are hashes, so the first ones are any.
_SAMPLE = 64
# Hits that are looked at where near-duplicates are folded, for each that is wanted.
_FOLDED = 4
_PAGE = 2048
_CHUNK = 500
# Frames and shots of videos that are looked at for each moment that is wanted.
_WIDTH = 32
# Records of whole files that were embedded.
_FILES = And((OneOf("error", ("",)), OneOf("kind", (Kind.IMAGE.value, Kind.VIDEO.value))))

_SINGLE = OneOf("kind", (Kind.IMAGE.value, Kind.FRAME.value))

Per: TypeAlias = Literal["moment", "clip", "frame"]


def open_collection(
    address: str | StoreUrl,
    client: Client,
    name: str | None = None,
    *,
    vectors: VectorType = "float32",
) -> Collection:
    """A collection in a store.

    Args:
        address: a folder, or the URL of a store; the URL may end in the collection's name.
        client: of the model that embeds. It stays open when the collection is closed.
        name: the collection, if not in the address; `pictures` where neither says.
        vectors: what to keep of each number if the first `add` has to make the collection.

    Raises:
        SpaceMismatch: the collection is of another model.
        InvalidArgument: the address or the name cannot be.
        StoreError: of the store.
    """
    store, named = open_named(address, name)
    return Collection(store, named, client, vectors)


def open_named(address: str | StoreUrl, name: str | None) -> tuple[Store, str]:
    """The store of a collection, and the collection's name; see `open_collection`."""
    url, named = (StoreUrl.parse(address) if isinstance(address, str) else address).split()
    if name is not None and named not in (None, name):
        raise InvalidArgument(f"the address ends in {named!r}, and the name is {name!r}; give one")
    return open_store(url), check_name(name or named or DEFAULT_NAME)


class Collection:
    """See `open_collection`. Not for several threads at a time."""

    def __init__(self, store: Store, name: str, client: Client, vectors: VectorType) -> None:
        self.name = name
        self._store = store
        self._client = client
        self._vectors = vectors
        self._is_checked = False
        if self._store.describe(name) is not None:
            self._check()

    def add(
        self,
        sources: Iterable[str | os.PathLike[str] | Source],
        *,
        prune: bool = False,
        retry: bool = False,
        fps: float = DEFAULT_FPS,
        fast: bool = False,
        on_progress: OnProgress = lambda _: None,
    ) -> Report:
        """Bring the collection up to date with `sources`, embedding only what is new or changed.

        Args:
            sources: folders, files, globs, tar shards, URLs.
            prune: remove what has vanished from them.
            retry: try again what could not be embedded before.
            fps: frames a second of videos that are new or changed.
            fast: only keyframes of them; see `video.sample`.
            on_progress: told after each file that is new or changed, and each frame of a video.

        Raises:
            SourceError: one of them does not exist, or all are empty.
            SpaceMismatch: the collection is of another model.
            TritonClipError: of the server or the store; running it again finishes the work.
        """
        check_fps(fps)
        opened = [s if isinstance(s, Source) else open_source(os.fspath(s)) for s in sources]
        self._make()
        report = index(
            self._store,
            self.name,
            self._client,
            opened,
            prune=prune,
            retry=retry,
            sampling=Sampling(fps, fast),
            on_progress=on_progress,
        )
        if not (report.seen or report.vanished or report.failed):
            raise SourceError(
                f"no pictures or videos in {', '.join(source.name for source in opened)}; "
                f"looked for files that end in {', '.join(MEDIA_SUFFIXES)}, and for tar shards"
            )
        return report

    def watch(
        self,
        sources: Iterable[str | os.PathLike[str] | Source],
        on_report: Callable[[Report], object],
        *,
        prune: bool = False,
        fps: float = DEFAULT_FPS,
        fast: bool = False,
        pause: float = 2.0,
        on_progress: OnProgress = lambda _: None,
    ) -> NoReturn:
        """Follow `sources` until interrupted, looking again `pause` seconds after each look.

        Looking takes a second for some 30,000 files; the pause is never shorter than four times
        that.
        """
        named = list(sources)
        while True:
            began = time.monotonic()
            report = self.add(named, prune=prune, fps=fps, fast=fast, on_progress=on_progress)
            on_report(report)
            time.sleep(max(pause, 4 * (time.monotonic() - began)))

    def follow(
        self,
        url: str,
        *,
        fps: float = DEFAULT_FPS,
        keep: timedelta | None = None,
        on_segment: Callable[[Segment], object] = lambda _: None,
        on_loss: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Take up a live source until interrupted, in segments; times are those of the clock.

        Args:
            url: `rtsp://`, `rtmp://`, `srt://`, `udp://`, `tcp://` or `pipe:0`.
            fps: frames a second.
            keep: remove what is older.
            on_segment: told after each segment is written.
            on_loss: told each time that the source is lost; it is tried again for ever.

        Raises:
            TritonClipError: of the server or the store; what was written until then is kept.
        """
        check_fps(fps)
        self._make()
        follow(
            self._store,
            self.name,
            self._client,
            url,
            watch(url, fps, on_loss=on_loss),
            fps=fps,
            keep=keep,
            on_segment=on_segment,
        )

    def search(
        self,
        text: str | Sequence[str] = (),
        *,
        images: Sequence[ImageInput] = (),
        like: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        without: Sequence[str] = (),
        templates: str | Sequence[str] = "plain",
        where: str | None = None,
        above: float | None = None,
        top: int = 20,
        near_duplicates: Literal["show", "group"] = "show",
        per: Per = "moment",
    ) -> list[Hit]:
        """The pictures and moments of videos that are nearest to a query, the nearest first.

        Args:
            text: what to look for; several are added up.
            images: pictures like what to look for, added to that.
            like: ids of records like what to look for, added to that.
            weights: of the texts, then the images, then `like`; all alike without.
            without: what not to find, one exclusion each; see `queries`.
            templates: sentences around the texts; see the client's `label_embeddings`.
            where: what the records have to be like; see `filters`.
            above: only hits with at least this score.
            top: how many at most.
            near_duplicates: "group" folds hits that are the same picture into the best of them.
            per: what a hit of a video is: a "moment", put together of the frames and shots that
                were found (see `video.moments`); a "clip", with the best moment of each video; or
                a "frame".

        Raises:
            CollectionNotFound: it has not been made yet.
            InvalidArgument: a query, filter or number that makes no sense.
            SpaceMismatch: the collection is of another model.
        """
        if top < 1:
            raise InvalidArgument(f"top is {top}; ask for at least 1 picture")
        self._check()
        condition = None if where is None else filters.parse(where)
        texts = [text] if isinstance(text, str) else list(text)
        query = Query(texts, images, self._vectors_of(like), weights, without, templates)
        vector = query.vector(self._client)
        folding = near_duplicates == "group"
        wanted = top * _FOLDED if folding else top
        if per == "frame":
            condition = filters.both(_SINGLE, condition)
        hits = self._nearest(vector, wanted, condition, query.is_one_text, per)
        if above is not None:
            hits = [hit for hit in hits if hit.score >= above]
        return (folded(hits, self._client) if folding else hits)[:top]

    def _nearest(
        self,
        vector: FloatArray,
        wanted: int,
        where: Filter | None,
        is_one_text: bool,
        per: Per,
    ) -> list[Hit]:
        """Hits by falling score, at least `wanted` where there are as many."""
        looked = wanted
        while True:
            found = self._store.nearest(self.name, vector, top=looked, where=where)
            hits = scored(found, vector, self._client.info(), is_one_text=is_one_text)
            if per == "frame" or not any(hit.is_video for hit in hits):
                return hits
            made = moments(hits, self._wholes(hits, vector))
            if per == "clip":
                made = clips(made)
            is_wide = looked >= _WIDTH * wanted
            if (is_wide and len(made) >= wanted) or len(found) < looked:
                return made
            looked = max(4 * looked, _WIDTH * wanted)

    def _wholes(self, hits: Sequence[Hit], vector: FloatArray) -> dict[str, float]:
        """Scores of the whole videos that `hits` are of, by their ids."""
        files = list({hit.record.file for hit in hits if hit.is_video})
        scores = {}
        for begin in range(0, len(files), _CHUNK):
            ids = OneOf("id", tuple(files[begin : begin + _CHUNK]))
            for record in self._store.scan(self.name, where=ids, vectors=True):
                if record.vector is not None:
                    scores[record.id] = float(record.vector @ vector)
        return scores

    def course(
        self, file: str, texts: Sequence[str], *, templates: str | Sequence[str] = "plain"
    ) -> Course:
        """How well each of `texts` fits a video over its time.

        Args:
            file: the `file` of its records.
            texts: one or more.
            templates: see the client's `label_embeddings`.

        Raises:
            InvalidArgument: there are no frames of such a video.
        """
        self._check()
        where = And((OneOf("file", (file,)), OneOf("kind", (Kind.FRAME.value,))))
        frames = list(self._store.scan(self.name, where=where, vectors=True))
        if not frames:
            raise InvalidArgument(f"the collection has no frames of a video {file!r}")
        return course(frames, texts, self._client.label_embeddings(texts, templates))

    def duplicates(
        self, threshold: float | None = None, *, where: str | None = None
    ) -> tuple[Threshold, list[list[Record]]]:
        """Groups of pictures, or videos, that are the same but for size, compression or edges.

        Args:
            threshold: the cosine from which on two are the same; found by altering some pictures of
                the collection without.
            where: among which records; see `filters`.

        Returns:
            the threshold, and the groups: in each, the largest picture first.

        Raises:
            SourceError: no threshold was given, and no file can be read to find one.
        """
        self._check()
        condition = None if where is None else filters.parse(where)
        embedded = filters.both(_FILES, condition)
        records = sorted(
            self._store.scan(self.name, where=embedded, vectors=True), key=lambda record: record.id
        )
        if not records:
            return Threshold(threshold or 1.0, 0), []
        if threshold is not None:
            found: Threshold | None = Threshold(threshold, 0)
        else:
            pictures = [record for record in records if record.kind is Kind.IMAGE]
            found = find_threshold(pictures[:_SAMPLE], self._client)
        if found is None:
            raise SourceError(
                "none of the pictures can be read to find a threshold; give one, e.g. 0.95"
            )
        groups = group(matrix(records), found.cosine)
        return found, [sorted((records[row] for row in rows), key=_value) for rows in groups]

    def tag(
        self,
        labels: Sequence[str],
        *,
        templates: str | Sequence[str] = "photo",
        above: float = 0.5,
        where: str | None = None,
    ) -> dict[str, int]:
        """Write zero-shot labels into the records, for `tags = LABEL` in a filter.

        Args:
            labels: what a picture may show; what was decided about them before is replaced.
            templates: see the client's `label_embeddings`.
            above: the least probability for a tag: of the softmax over the labels, or of the
                sigmoid of each, as the model was trained.
            where: which records; see `filters`.

        Returns:
            how many records have each label, those of moments and frames among them.
        """
        self._check()
        vectors = self._client.label_embeddings(labels, templates)
        condition = None if where is None else filters.parse(where)
        counts = dict.fromkeys(labels, 0)
        embedded = filters.both(OneOf("error", ("",)), condition)
        scan = self._store.scan(self.name, where=embedded, vectors=True)
        while page := list(islice(scan, _PAGE)):
            rows = probabilities(matrix(page), vectors, self._client.info()).tolist()
            tagged = []
            for record, row in zip(page, rows, strict=True):
                new = {tag: p for tag, p in zip(labels, row, strict=True) if p >= above}
                for label in new:
                    counts[label] += 1
                old = dict(zip(record.tags, record.tag_probabilities, strict=True))
                kept = {tag: p for tag, p in old.items() if tag not in counts} | new
                if kept != old:
                    tags, chances = tuple(kept), tuple(kept.values())
                    tagged.append(replace(record, tags=tags, tag_probabilities=chances))
            self._store.upsert(self.name, tagged)
        self._store.settle(self.name)
        return counts

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> dict[str, Record]:
        """Those records of `ids` that there are, by id; without vectors unless asked for."""
        found = self._store.scan(self.name, where=OneOf("id", tuple(ids)), vectors=vectors)
        return {record.id: record for record in found}

    def records(self, where: str | None = None) -> Iterator[Record]:
        """Records without their vectors, those of files that could not be embedded too."""
        condition = None if where is None else filters.parse(where)
        return self._store.scan(self.name, where=condition)

    def embedded(self, where: str | None = None) -> Iterator[Record]:
        """Records with their vectors, of all that could be embedded.

        Raises:
            CollectionNotFound: it has not been made yet.
            SpaceMismatch: the collection is of another model.
        """
        self._check()
        condition = None if where is None else filters.parse(where)
        embedded = filters.both(OneOf("error", ("",)), condition)
        return self._store.scan(self.name, where=embedded, vectors=True)

    def count(self, where: str | None = None) -> int:
        """How many records there are, or are so; see `filters`."""
        condition = None if where is None else filters.parse(where)
        return self._store.count(self.name, where=condition)

    def __len__(self) -> int:
        """How many pictures and videos can be found."""
        return self._store.count(self.name, where=_FILES)

    @property
    def method(self) -> Method:
        """How the store finds the nearest at its present size."""
        return self._store.method(self.name)

    def close(self) -> None:
        """Disconnect from the store. A second call does nothing."""
        self._store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _vectors_of(self, ids: Sequence[str]) -> list[FloatArray]:
        found = self.get(ids, vectors=True) if ids else {}
        vectors = []
        for id in ids:
            record = found.get(id)
            if record is None or record.vector is None:
                raise InvalidArgument(f"there is no picture with the id {id!r} in {self.name!r}")
            vectors.append(record.vector)
        return vectors

    def _make(self) -> None:
        space = Space.of(self._client.info())
        self._store.create(self.name, Description(space, self._vectors))
        self._check()

    def _check(self) -> None:
        """That it is there, and that what the client embeds is comparable with what it holds."""
        if self._is_checked:
            return
        description = self._store.describe(self.name)
        if description is None:
            raise CollectionNotFound(self.name, self._store.url, self._store.names())
        description.check(self.name, Space.of(self._client.info()))
        self._is_checked = True


def _value(record: Record) -> tuple[int, int, str]:
    """Of the same pictures, the one to keep comes first."""
    return -record.width * record.height, -record.size, record.path
