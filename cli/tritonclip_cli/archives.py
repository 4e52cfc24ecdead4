"""`index`, `search`, `duplicates`, `tag`, `collections`: pictures and videos, in a store."""

from __future__ import annotations

import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.archive_output import (
    collection_json,
    counted,
    escaped,
    hit_json,
    linked,
    position_text,
    print_changes,
    print_collections,
    print_hits,
    print_report,
    report_json,
)
from tritonclip_cli.groups import Group
from tritonclip_cli.options import (
    UTF8,
    Connection,
    Encoding,
    Fps,
    Json,
    Labels,
    LabelsFile,
    Template,
)
from tritonclip_cli.queries import labels_from, lines_of, templates_from
from tritonclip_cli.values import ANY_NAME, check, new_file
from tritonclip_export.staging.files import whole_file
from tritonclip_search.sources.item import age, is_live

if TYPE_CHECKING:
    from tritonclip_search import Collection, Hit, Progress
    from tritonclip_search.indexing.report import OnProgress
    from tritonclip_search.stores.store import Store as VectorStore
    from tritonclip_search.video.segmenting import Segment


def _known_store(url: str) -> None:
    from tritonclip_search.stores.url import StoreUrl

    StoreUrl.parse(url)


def _known_age(keep: str) -> None:
    age(keep)


def _known_name(collection: str) -> None:
    from tritonclip_search.stores.store import check_name

    check_name(collection)


def _known_filter(where: str) -> None:
    from tritonclip_search.filters import parse

    parse(where)


Store = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        envvar="TRITONCLIP_STORE",
        callback=check(_known_store),
        parser=ANY_NAME,
        help="A folder, or lancedb://, postgresql://, milvus://, qdrant://, weaviate://",
    ),
]
ARCHIVE = "archive"
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        "-w",
        callback=check(_known_filter),
        help="E.g. 'width >= 800 and date > 2023'.",
    ),
]


@dataclass(frozen=True)
class Place(Group):
    """A collection in a store."""

    store: Store = ARCHIVE
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection",
            "-c",
            callback=check(_known_name),
            help="The collection in the store. [pictures]",
        ),
    ] = None

    @contextmanager
    def open(self, connection: Connection, *, half: bool = False) -> Iterator[Collection]:
        """The collection, and a client for it."""
        from tritonclip_search import open_collection

        with (
            connection.client() as client,
            open_collection(
                self.store, client, self.collection, vectors="float16" if half else "float32"
            ) as opened,
        ):
            yield opened

    @contextmanager
    def store_alone(self) -> Iterator[tuple[VectorStore, str]]:
        """The store and the collection's name, where nothing is to be embedded."""
        from tritonclip_search.collection import open_named

        opened, name = open_named(self.store, self.collection)
        try:
            yield opened, name
        finally:
            opened.close()


@dataclass(frozen=True)
class Question(Group, panel="What to look for"):
    """A query beside its texts."""

    image: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", parser=ANY_NAME, help="A picture like it; repeatable."),
    ] = None
    without: Annotated[
        list[str] | None, typer.Option(help="What not to find, e.g. people; repeatable.")
    ] = None
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Of each text, then each image, in order. [1 for all]"),
    ] = None
    template: Template = None
    where: Where = None
    above: Annotated[float | None, typer.Option(help="Only scores of at least this.")] = None
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many at most.")] = 20
    near_duplicates: Annotated[
        Literal["show", "group"], typer.Option(help="Show each, or group them with the best.")
    ] = "show"
    per: Annotated[
        Literal["moment", "clip", "frame"], typer.Option(help="What a hit of a video is.")
    ] = "moment"


@dataclass(frozen=True)
class Looks(Group, panel="How to look at it"):
    """What becomes of the hits beside or instead of a table."""

    show: Annotated[bool, typer.Option("--show", help="Look at the hits in a browser.")] = False
    page: Annotated[Path | None, new_file("Write that page, one HTML file, to here.")] = None
    sheet: Annotated[Path | None, new_file("Write a sheet of the pictures, a PNG, to here.")] = None
    timeline: Annotated[
        Path | None,
        new_file("Draw each text's score over the time of the best video, a PNG, to here."),
    ] = None
    edl: Annotated[
        Path | None, new_file("Write the moments for editing tools, CMX 3600, to here.")
    ] = None
    edl_fps: Annotated[
        int,
        typer.Option("--edl-fps", min=1, help="Frames a second of the project that reads it."),
    ] = 25
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths, one a line.")] = False


def index(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            parser=ANY_NAME,
            help="Folders, pictures, videos, globs, tar shards, s3://, rtsp:// ... - reads stdin.",
        ),
    ] = None,
    *,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--from",
            parser=ANY_NAME,
            help="Instead: vectors that are there, as `bulk` and `embed` write Parquet.",
        ),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what has vanished.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try pictures again that could not be embedded.")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="A new collection keeps half precision.")
    ] = False,
    fps: Fps = 1.0,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only keyframes of them, often 2 to 10 s apart.")
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(callback=check(_known_age), help="Of a live source, how long: 12h, 30d."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on and follow changes until Ctrl-C.")
    ] = False,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Bring a collection up to date with folders: only what is new or changed is embedded.

    What cannot be embedded is reported, and left alone until it changes; the exit status is then 1.
    What is interrupted goes on where it was when it is run again.
    """
    if (sources is None) == (vectors is None):
        raise InvalidArgument("say what to index: pictures and videos, or vectors with --from")
    if vectors is not None:
        _load(vectors, place, half=half, json=json)
        return
    assert sources is not None
    with (
        place.open(connection, half=half) as archive,
        _progress(quiet=json) as on_progress,
    ):
        if any(map(is_live, sources)):
            _follow(archive, sources, fps, keep, json=json)
            return
        named = _sources(sources)
        if watch:
            changed = partial(print_changes, json=json)
            archive.watch(named, changed, prune=prune, fps=fps, fast=fast, on_progress=on_progress)
        began = time.monotonic()
        try:
            report = archive.add(
                named, prune=prune, retry=retry, fps=fps, fast=fast, on_progress=on_progress
            )
        except KeyboardInterrupt:
            print("stopped; what was embedded is kept. Run it again to go on", file=sys.stderr)
            raise
        seconds = time.monotonic() - began
        if json:
            output.print_json(report_json(report, archive))
        else:
            print_report(report, archive, seconds)
    for problem in report.damaged:
        print(f"damaged: {problem}", file=sys.stderr)
    for problem in (*report.unreadable, *report.failed):
        print(f"failed: {problem}", file=sys.stderr)
    if report.unreadable or report.failed or report.damaged:
        raise typer.Exit(1)


def search(
    text: Annotated[list[str] | None, typer.Argument(help="What to look for.")] = None,
    *,
    question: Question,
    looks: Looks,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Find pictures and moments of videos by words, by other pictures, or by both."""
    asked, images, unwanted = text or [], question.image or [], question.without or []
    with place.open(connection) as archive:
        began = time.monotonic()
        hits = archive.search(
            asked,
            images=images,
            weights=question.weight,
            without=unwanted,
            templates=templates_from(question.template, "plain"),
            where=question.where,
            above=question.above,
            top=question.top,
            near_duplicates=question.near_duplicates,
            per=question.per,
        )
        seconds = time.monotonic() - began
        course = None
        if looks.timeline is not None:
            best = next((hit.record.file for hit in hits if hit.is_video), None)
            if best is None or not asked:
                raise InvalidArgument("--timeline wants a text to ask for, and a video among hits")
            templates = templates_from(question.template, "plain")
            course = archive.course(best, asked, templates=templates)
        among = f"among {counted(archive)}, {archive.method.name}"
    if json:
        output.print_json([hit_json(hit) for hit in hits])
    elif looks.paths:
        sys.stdout.writelines(f"{path}\n" for path in dict.fromkeys(hit.path for hit in hits))
    else:
        print_hits(hits)
        output.console(stderr=True).print(f"[dim]{among}, {seconds * 1000:,.0f} ms[/]")
    title = " + ".join([*asked, *images]) + "".join(f", without {what}" for what in unwanted)
    if looks.show or looks.page is not None:
        _write_page(looks, title, among, hits)
    if course is not None and looks.timeline is not None:
        from tritonclip_search.looking.timeline import timeline

        timeline(course).save(looks.timeline, "PNG")
        output.console(stderr=True).print(f"time line [bold]{escaped(str(looks.timeline))}[/]")
    if looks.edl is not None:
        from tritonclip_search.looking.edl import edl

        looks.edl.write_text(edl(title, hits, looks.edl_fps), encoding="utf-8")
        output.console(stderr=True).print(f"edit list [bold]{escaped(str(looks.edl))}[/]")
    if looks.sheet is not None:
        from tritonclip_search.looking.sheet import sheet

        with whole_file(looks.sheet) as partial:
            sheet(title, hits).save(partial, "PNG")
        output.console(stderr=True).print(f"sheet [bold]{escaped(str(looks.sheet))}[/]")


def duplicates(
    *,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="The cosine from which on two are the same. [found by altering some]",
        ),
    ] = None,
    where: Where = None,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Group pictures that are the same but for size, compression or edges; the largest first."""
    with place.open(connection) as archive:
        found, groups = archive.duplicates(threshold, where=where)
    if json:
        grouped = [[record.path for record in records] for records in groups]
        output.print_json({"threshold": found.cosine, "groups": grouped})
        return
    for records in groups:
        for rank, record in enumerate(records):
            size = f"{record.width} x {record.height}, {record.size / 1000:,.0f} KB"
            mark = "[bold]" if rank == 0 else "  [dim]"
            output.console().print(f"{mark}{linked(record.path)}[/]  [dim]{size}[/]")
        output.console().print()
    how = (
        f"found by altering {found.pictures} of the pictures: 95 % of the copies reach it"
        if found.pictures
        else "as given"
    )
    output.console(stderr=True).print(
        f"[bold]{len(groups):,}[/] groups from a cosine of {found.cosine:.3f} on, {how}"
    )


def tag(
    *,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    encoding: Encoding = UTF8,
    template: Template = None,
    above: Annotated[
        float, typer.Option(min=0, max=1, help="The least probability for a tag.")
    ] = 0.5,
    where: Where = None,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Write labels that pictures show into the collection, for --where 'tags = cat'."""
    wanted = labels_from(labels, labels_file, encoding)
    with place.open(connection) as archive:
        counts = archive.tag(
            wanted, templates=templates_from(template, "photo"), above=above, where=where
        )
    if json:
        output.print_json(counts)
        return
    for label, count in sorted(counts.items(), key=lambda item: -item[1]):
        output.console().print(f"{count:>9,}  {escaped(label)}")


def collections(
    name: Annotated[
        str | None,
        typer.Argument(callback=check(_known_name), help="The collection to describe."),
    ] = None,
    *,
    drop: Annotated[bool, typer.Option("--drop", help="Remove it and all that it holds.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before.")] = False,
    store: Store = ARCHIVE,
    json: Json = False,
) -> None:
    """List the collections of a store, describe one, or drop it."""
    from tritonclip_search import open_store
    from tritonclip_search.errors import CollectionNotFound

    opened = open_store(store)
    try:
        if drop and name is None:
            raise InvalidArgument("name the collection to drop")
        names = opened.names() if name is None else [name]
        described = []
        for each in names:
            description = opened.describe(each)
            if description is None:
                raise CollectionNotFound(each, opened.url, opened.names())
            described.append(collection_json(opened, each, description))
        if drop:
            (facts,) = described
            if not yes:
                question = f"drop {name!r} with {facts['records']:,} records?"
                typer.confirm(question, abort=True, err=True)
            assert name is not None
            opened.drop(name)
    finally:
        opened.close()
    if json:
        output.print_json(described)
    elif drop:
        output.console().print(f"dropped {name}; the pictures themselves are where they were")
    elif not described:
        output.console().print("no collections here; `tritonclip index` makes one")
    else:
        print_collections(described)


def _follow(
    archive: Collection, sources: Sequence[str], fps: float, keep: str | None, *, json: bool
) -> None:
    """Take up a live source until Ctrl-C."""
    from tritonclip_search.video.timecode import span

    if len(sources) > 1:
        raise InvalidArgument("a live source has no end: index it by itself")

    def told(segment: Segment) -> None:
        if json:
            output.print_json({"start": segment.start, "end": segment.end})
        else:
            frames = f"{len(segment.frames)} frames"
            print(f"{span(segment.start, segment.end)}  {frames}", flush=True)

    archive.follow(
        sources[0],
        fps=fps,
        keep=None if keep is None else age(keep),
        on_segment=told,
        on_loss=lambda why: print(f"lost: {why}", file=sys.stderr, flush=True),
    )


def _load(vectors: str, place: Place, *, half: bool, json: bool) -> None:
    """Take vectors up that are there already, without a server."""
    from rich import progress

    from tritonclip_search.indexing.loading import load
    from tritonclip_search.vector_files import find

    files = find(vectors)
    began = time.monotonic()
    with (
        place.store_alone() as (store, name),
        progress.Progress(
            progress.TextColumn("loading"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=output.console(stderr=True),
            transient=True,
            disable=json,
        ) as bar,
    ):
        task = bar.add_task("", total=sum(file.rows for file in files))
        loaded = load(
            store,
            name,
            files,
            vectors="float16" if half else "float32",
            on_progress=lambda count: bar.update(task, completed=count),
        )
        method = store.method(name).name
    rate = loaded / (time.monotonic() - began)
    if json:
        output.print_json({"collection": name, "loaded": loaded, "files": len(files)})
    else:
        output.console().print(
            f"[bold]{loaded:,}[/] vectors of {len(files):,} files -> collection [bold]{name}[/], "
            f"{method}  [dim]{rate:,.0f} a second[/]"
        )


def _sources(named: Sequence[str]) -> list[Any]:
    from tritonclip_search.sources.opening import listed

    return [listed(lines_of([name])) if name == "-" else name for name in named]


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress]:
    """A bar with rate and time left on standard error, from the first file that needs work on."""
    from rich import progress

    if quiet:
        yield lambda _: None
        return
    bar = progress.Progress(
        progress.TextColumn("embedding"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("[dim]{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[video]}"),
        console=output.console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", rate="", video="")
    began: dict[str, float] = {}  # when each video did

    def advance(now: Progress) -> None:
        bar.start()
        speed = bar.tasks[0].speed
        rate = f"{speed:,.0f} a second" if speed else ""
        video = ""
        if now.video is not None:
            seconds = time.monotonic() - began.setdefault(now.video.path, time.monotonic())
            video = position_text(now.video, seconds)
        bar.update(task, total=now.total, completed=now.done, rate=rate, video=video)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def _write_page(looks: Looks, title: str, subtitle: str, hits: Sequence[Hit]) -> None:
    from tritonclip_search.looking.page import page

    file = looks.page or Path(tempfile.mkdtemp(prefix="tritonclip-"), "search.html")
    with whole_file(file) as partial:
        partial.write_text(page(title, subtitle, hits), encoding="utf-8")
    output.console(stderr=True).print(f"page [bold]{escaped(str(file))}[/]")
    if looks.show:
        webbrowser.open(file.absolute().as_uri())
