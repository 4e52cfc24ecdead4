"""What every store does, asked of each that runs here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_search import filters
from tritonclip_search.errors import CollectionNotFound
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or
from tritonclip_search.records import Kind, Record, file_id, folders_of, moment_id
from tritonclip_search.space import Description, Space
from tritonclip_search.stores.store import Store

DIM = 16
NAME = "press"
MAY_LACK_HALF = ("milvus", "weaviate")
"""Schemes of the stores some of whose versions keep float32 only."""
DESCRIPTION = Description(Space("ViT-B-32:test", "ab" * 32, DIM, "exact"))


def record(path: str, seed: int = 0, **changes: object) -> Record:
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    made = Record(
        id=file_id(path),
        file=file_id(path),
        kind=Kind.IMAGE,
        path=path,
        folders=folders_of(path),
        size=1000,
        modified=1_700_000_000_123_456,
        sha256="0f" * 32,
        date=1_600_000_000_000_000,
        width=640,
        height=480,
        format="JPEG",
        precision="fp32",
        vector=vector / np.linalg.norm(vector),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def facts(one: Record) -> tuple[object, ...]:
    """All of a record but its vector."""
    return tuple(getattr(one, name) for name in Record.__slots__ if name != "vector")


def archive() -> list[Record]:
    """Sixty records that differ in everything a filter may ask for."""
    made = []
    for i in range(60):
        path = f"/pictures/{'holiday' if i % 3 else 'press'}/{'a' if i % 2 else 'b'}/{i}.jpg"
        made.append(
            record(
                path,
                seed=i,
                size=1000 * i,
                width=100 * (i % 10),
                date=1_600_000_000_000_000 + i * 86_400_000_000,
                format=("JPEG", "PNG", "WEBP")[i % 3],
                tags=(("cat", "it's a dog", 'a "quoted" tag')[i % 3], "all")[: i % 4],
                tag_probabilities=(0.5, 0.25)[: i % 4],
            )
        )
    return made


FILTERS: dict[str, Callable[[Record], bool]] = {
    "size >= 20KB": lambda r: r.size >= 20_000,
    "size < 20KB and width > 300": lambda r: r.size < 20_000 and r.width > 300,
    "width = 500 or width = 700": lambda r: r.width in (500, 700),
    "width in (500, 700)": lambda r: r.width in (500, 700),
    "width != 500": lambda r: r.width != 500,
    "not (width <= 500)": lambda r: r.width > 500,
    "path = /pictures/holiday/a/1.jpg": lambda r: r.path == "/pictures/holiday/a/1.jpg",
    "path under /pictures/holiday": lambda r: r.path.startswith("/pictures/holiday/"),
    "path under /pictures/holiday/b": lambda r: r.path.startswith("/pictures/holiday/b/"),
    "path under /pictures/holi": lambda _: False,
    "not path under /pictures/press and format = jpg": lambda r: (
        "/press/" not in r.path and r.format == "JPEG"
    ),
    "format in (png, jpeg)": lambda r: r.format in ("PNG", "JPEG"),
    "tags = cat": lambda r: "cat" in r.tags,
    "tags != cat": lambda r: "cat" not in r.tags,
    'tags = "it\'s a dog"': lambda r: "it's a dog" in r.tags,
    "tags = 'a \"quoted\" tag' or tags in (cat)": lambda r: (
        'a "quoted" tag' in r.tags or "cat" in r.tags
    ),
    "date < 2020-10": lambda r: r.date < 1_601_510_400_000_000,
    "kind = video": lambda _: False,
    "error = ''": lambda _: True,
    "start <= 0.5": lambda _: True,
}


@pytest.fixture
def filled(store: Store) -> Store:
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, archive())
    return store


def test_what_was_written_comes_back_as_it_was(store: Store) -> None:
    written = record(
        '/pictures/\N{SNOWMAN} it\'s "1" 100%_\\.jpg',
        tags=("cat", "it's"),
        tag_probabilities=(0.5, 0.25),
        size=2**40 + 1,
    )
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, [written])
    (read,) = store.scan(NAME, vectors=True)
    assert facts(read) == facts(written)
    np.testing.assert_allclose(read.vector, written.vector, atol=1e-6)
    assert read.vector.dtype == np.float32
    (bare,) = store.scan(NAME)
    assert facts(bare) == facts(written)
    assert bare.vector is None


def test_another_connection_sees_it(filled: Store, another: Callable[[], Store]) -> None:
    other = another()
    assert other.names() == [NAME]
    assert other.describe(NAME) == DESCRIPTION
    assert other.count(NAME) == 60
    filled.upsert(NAME, [record("/pictures/one-more.jpg")])
    assert other.count(NAME) == 61
    other.close()


def test_making_a_collection_again_leaves_it_as_it_is(filled: Store) -> None:
    filled.create(NAME, Description(Space("another", "cd" * 32, DIM + 1, "exact")))
    assert filled.describe(NAME) == DESCRIPTION
    assert filled.count(NAME) == 60


def test_repeating_an_upsert_changes_nothing(filled: Store) -> None:
    filled.upsert(NAME, archive())
    filled.upsert(NAME, archive()[:7])
    assert sorted(map(facts, filled.scan(NAME))) == sorted(map(facts, archive()))


def test_an_upsert_replaces_the_whole_record(filled: Store) -> None:
    changed = replace(archive()[7], size=5, tags=("new",), tag_probabilities=(1.0,))
    changed = replace(changed, vector=archive()[8].vector)
    filled.upsert(NAME, [changed])
    (read,) = filled.scan(NAME, where=OneOf("id", (changed.id,)), vectors=True)
    assert facts(read) == facts(changed)
    np.testing.assert_allclose(read.vector, changed.vector, atol=1e-6)
    assert filled.count(NAME) == 60


def test_two_that_write_the_same_at_once_leave_nothing_twice(
    store: Store, another: Callable[[], Store]
) -> None:
    store.create(NAME, DESCRIPTION)

    def write(size: int) -> None:
        mine = another()
        mine.create(NAME, DESCRIPTION)
        for begin in range(0, 60, 10):
            mine.upsert(NAME, [replace(one, size=size) for one in archive()[begin : begin + 10]])
        mine.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (1, 2)))
    found = list(store.scan(NAME, vectors=True))
    assert sorted(one.id for one in found) == sorted(one.id for one in archive())
    written = {one.id: one for one in archive()}
    for one in found:
        np.testing.assert_allclose(one.vector, written[one.id].vector, atol=1e-6)


def test_deleting_removes_what_is_named_and_nothing_else(filled: Store) -> None:
    gone = archive()[:5]
    filled.delete(NAME, [*(one.id for one in gone), file_id("/never/there.jpg")])
    filled.delete(NAME, [])
    left = {one.id for one in filled.scan(NAME)}
    assert left == {one.id for one in archive()[5:]}
    (nearest,) = filled.nearest(NAME, gone[0].vector, top=1)
    assert nearest.id in left


def test_the_nearest_come_in_order_with_their_vectors(filled: Store) -> None:
    for asked in archive()[::20]:
        cosines = {one.id: float(one.vector @ asked.vector) for one in archive()}
        found = filled.nearest(NAME, asked.vector, top=10)
        assert [one.id for one in found] == sorted(cosines, key=cosines.__getitem__)[::-1][:10]
        scores = [float(one.vector @ asked.vector) for one in found]
        assert scores == pytest.approx([cosines[one.id] for one in found], abs=1e-5)
        assert facts(found[0]) == facts(asked)


def test_asking_for_more_than_there_is_gives_all(filled: Store) -> None:
    assert len(filled.nearest(NAME, archive()[0].vector, top=1000)) == 60


def test_filters_mean_the_same_everywhere(filled: Store) -> None:
    asked = archive()[0].vector
    for where, holds in FILTERS.items():  # in one test: making a collection takes some seconds
        parsed = filters.parse(where)
        expected = {one.id for one in archive() if holds(one)}
        assert {one.id for one in filled.scan(NAME, where=parsed)} == expected, where
        assert filled.count(NAME, where=parsed) == len(expected), where
        found = [one.id for one in filled.nearest(NAME, asked, top=60, where=parsed)]
        assert len(found) == len(expected), where
        assert set(found) == expected, where


def test_a_filter_is_applied_before_the_nearest_are_taken(filled: Store) -> None:
    farthest = min(archive(), key=lambda one: float(one.vector @ archive()[0].vector))
    only = OneOf("path", (farthest.path,))
    (found,) = filled.nearest(NAME, archive()[0].vector, top=1, where=only)
    assert found.id == farthest.id


def test_nested_filters_hold(filled: Store) -> None:
    where: Filter = Not(
        Or((And((Compare("size", ">", 10_000), Holds("tags", ("all",)))), OneOf("width", (0, 100))))
    )
    expected = {
        one.id
        for one in archive()
        if not ((one.size > 10_000 and "all" in one.tags) or one.width in (0, 100))
    }
    assert {one.id for one in filled.scan(NAME, where=where)} == expected


def test_many_ids_are_asked_for_at_once(filled: Store) -> None:
    ids = tuple(file_id(f"/elsewhere/{i}") for i in range(1000))
    assert filled.count(NAME, where=OneOf("id", (*ids, archive()[3].id))) == 1


def test_a_file_that_could_not_be_embedded_is_kept_but_never_found(filled: Store) -> None:
    broken = record("/pictures/broken.jpg", vector=None, error='not an image: it\'s "text"')
    filled.upsert(NAME, [broken])
    (read,) = filled.scan(NAME, where=filters.parse("error != ''"), vectors=True)
    assert facts(read) == facts(broken)
    assert read.vector is None
    assert filled.count(NAME) == 61
    every = filters.parse("size >= 0")
    for where in (None, every):
        assert len(filled.nearest(NAME, archive()[0].vector, top=100, where=where)) == 60
    filled.upsert(NAME, [record("/pictures/broken.jpg", seed=99)])  # it was repaired
    assert len(filled.nearest(NAME, archive()[0].vector, top=100)) == 61


def test_moments_lie_beside_their_video(store: Store) -> None:
    path = "/clips/sea.mp4"
    video = record(path, kind=Kind.VIDEO, end=90.25)
    spans = [(0.0, 10.5), (10.5, 90.25)]
    moments = [
        record(path, seed=i + 1, id=moment_id(path, *span), kind=Kind.MOMENT)
        for i, span in enumerate(spans)
    ]
    moments = [
        replace(one, start=start, end=end) for one, (start, end) in zip(moments, spans, strict=True)
    ]
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, [*moments, video])
    of_the_file = {one.id for one in store.scan(NAME, where=OneOf("file", (video.id,)))}
    assert of_the_file == {video.id, *(one.id for one in moments)}
    late = filters.parse("kind = moment and start >= 10")
    assert [facts(one) for one in store.nearest(NAME, video.vector, top=5, where=late)] == [
        facts(moments[1])
    ]


def test_writing_nothing_is_allowed(filled: Store) -> None:
    filled.upsert(NAME, [])
    assert filled.count(NAME) == 60


def test_settling_says_how_it_searches_and_changes_no_answer(filled: Store) -> None:
    asked = archive()[9].vector
    before = [one.id for one in filled.nearest(NAME, asked, top=10)]
    method = filled.settle(NAME)
    assert method == filled.method(NAME)
    assert method.exact  # sixty records need no index
    assert [one.id for one in filled.nearest(NAME, asked, top=10)] == before


def test_a_collection_that_is_not_there_is_named(store: Store) -> None:
    store.create("other", DESCRIPTION)
    assert store.describe(NAME) is None
    asked = archive()[0].vector
    calls: list[Callable[[], object]] = [
        lambda: store.upsert(NAME, archive()),
        lambda: store.delete(NAME, [archive()[0].id]),
        lambda: store.nearest(NAME, asked, top=1),
        lambda: list(store.scan(NAME)),
        lambda: store.count(NAME),
        lambda: store.settle(NAME),
        lambda: store.method(NAME),
        lambda: store.drop(NAME),
    ]
    for call in calls:
        with pytest.raises(CollectionNotFound, match=NAME):
            call()
    assert store.names() == ["other"]


def test_dropping_one_collection_leaves_the_others(filled: Store) -> None:
    filled.create("other", DESCRIPTION)
    filled.upsert("other", archive()[:3])
    filled.drop(NAME)
    assert filled.names() == ["other"]
    assert filled.count("other") == 3
    filled.create(NAME, DESCRIPTION)
    assert filled.count(NAME) == 0


def test_half_precision_is_kept_where_the_store_has_it(store: Store, store_url: str) -> None:
    half = Description(DESCRIPTION.space, "float16")
    try:
        store.create(NAME, half)
    except InvalidArgument:
        assert store_url.startswith(MAY_LACK_HALF)
        with pytest.raises(InvalidArgument, match="keeps no float16"):
            store.create(NAME, half)
        return
    store.upsert(NAME, archive())
    assert store.describe(NAME) == half
    read = {one.id: one.vector for one in store.scan(NAME, vectors=True)}
    for one in archive():
        np.testing.assert_array_equal(read[one.id], one.vector.astype(np.float16))
