"""What the commands on archives print, for people and as data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tritonclip_cli import output

if TYPE_CHECKING:
    from tritonclip_search import Collection, Hit, Record, Report
    from tritonclip_search.indexing.report import Position
    from tritonclip_search.space import Description
    from tritonclip_search.stores.store import Store


def print_report(report: Report, archive: Collection, seconds: float) -> None:
    """What an indexer did, for people."""
    from tritonclip_search.video.timecode import clock

    console = output.console()
    parts = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "not readable": len(report.unreadable) + len(report.failed),
        "removed": report.removed,
    }
    console.print(
        ", ".join(f"[bold]{n:,}[/] {what}" for what, n in parts.items() if n) or "nothing"
    )
    left = report.vanished if not report.removed else []
    if left:
        console.print(f"[bold]{len(left):,}[/] vanished; --prune removes them:")
        for path in left[:5]:
            console.print(f"  {escaped(path)}")
        if len(left) > 5:
            console.print(f"  and {len(left) - 5:,} more")
    rate = f", {report.embedded / seconds:,.0f} a second" if report.embedded else ""
    if report.video_seconds:
        rate = (
            f", {clock(report.video_seconds)} of video at "
            f"{report.video_seconds / seconds:,.0f} x real time"
        )
    console.print(
        f"collection [bold]{archive.name}[/]: {counted(archive)}, {archive.method.name}  "
        f"[dim]{seconds:.1f} s{rate}[/]"
    )


def counted(archive: Collection) -> str:
    """How much of what a collection holds."""
    videos = archive.count("kind = video and error = ''")
    pictures = len(archive) - videos
    if not videos:
        return f"{pictures:,} pictures"
    parts = f"{videos:,} videos in {archive.count('kind = moment'):,} shots"
    return f"{pictures:,} pictures, {parts}" if pictures else parts


def position_text(position: Position, seconds: float) -> str:
    """How far a video is after so many seconds, and how fast that was."""
    from tritonclip_search.video.timecode import clock

    name = position.path.rpartition("/")[2]
    whole = f" of {clock(position.duration)}" if position.duration else ""
    rate = f", {position.done / seconds:,.0f} x real time" if seconds > 1 else ""
    return f"{escaped(name)} {clock(position.time)}{whole}{rate}"


def print_changes(report: Report, *, json: bool) -> None:
    """Of one look at what is watched, if anything was different."""
    changes: dict[str, Any] = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "vanished": report.vanished,
        "removed": report.removed,
        "unreadable": [str(problem) for problem in report.unreadable],
    }
    if any(changes.values()):
        if json:
            output.print_json(changes)
        else:
            parts = {k: v if isinstance(v, int) else len(v) for k, v in changes.items()}
            print(", ".join(f"{n:,} {what}" for what, n in parts.items() if n), flush=True)


def print_hits(hits: Sequence[Hit]) -> None:
    """A table whose paths are links."""
    from rich.table import Table

    from tritonclip_search.video.timecode import span

    if not hits:
        output.console().print("nothing found")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("score", justify="right", no_wrap=True)
    with_chance = hits[0].probability is not None
    if with_chance:
        table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("path", overflow="fold")
    with_time = any(hit.is_video for hit in hits)
    if with_time:
        table.add_column("time", no_wrap=True)
    table.add_column("size", no_wrap=True, style="dim")
    for hit in hits:
        record = hit.record
        path = linked(hit.path)
        if hit.near_duplicates:
            path += f" [dim]and {len(hit.near_duplicates)} like it[/]"
        chance = [f"{hit.probability:.1%}"] if with_chance else []
        when = [span(hit.start, hit.end) if hit.is_video else ""] if with_time else []
        size = f"{record.width} x {record.height}"
        table.add_row(f"{hit.score:.3f}", *chance, path, *when, size)
    output.print_table(table)


def print_collections(described: Sequence[dict[str, Any]]) -> None:
    """A table of what `collection_json` gives."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in (
        "collection",
        "pictures",
        "videos",
        "not readable",
        "model",
        "dim",
        "vectors",
        "search",
    ):
        table.add_column(column)
    for facts in described:
        table.add_row(
            f"[bold]{facts['name']}[/]",
            f"{facts['pictures']:,}",
            f"{facts['videos']:,}",
            f"{facts['unreadable']:,}",
            escaped(facts["source"]),
            str(facts["dim"]),
            facts["vectors"],
            facts["search"],
        )
    output.print_table(table)


def collection_json(store: Store, name: str, description: Description) -> dict[str, Any]:
    """What a store holds under a name."""
    from tritonclip_search.filters import And, Not, OneOf

    embedded = OneOf("error", ("",))
    pictures, videos = (
        store.count(name, where=And((OneOf("kind", (kind,)), embedded)))
        for kind in ("image", "video")
    )
    return {
        "name": name,
        "records": store.count(name),
        "pictures": pictures,
        "videos": videos,
        "unreadable": store.count(name, where=Not(OneOf("error", ("",)))),
        "source": description.space.source,
        "weights_sha256": description.space.weights_sha256,
        "dim": description.space.dim,
        "preprocess": description.space.preprocess,
        "vectors": description.vectors,
        "search": store.method(name).name,
    }


def report_json(report: Report, archive: Collection) -> dict[str, Any]:
    """What an indexer did, as data."""
    return {
        "collection": archive.name,
        "pictures": archive.count("kind = image and error = ''"),
        "videos": archive.count("kind = video and error = ''"),
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "vanished": report.vanished,
        "removed": report.removed,
        "video_seconds": report.video_seconds,
        "damaged": [str(problem) for problem in report.damaged],
        "unreadable": [str(problem) for problem in report.unreadable],
        "failed": [str(problem) for problem in report.failed],
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit, as data."""
    record = hit.record
    return {
        "path": hit.path,
        "score": hit.score,
        "probability": hit.probability,
        "kind": record.kind.value,
        "start": hit.start if hit.is_video else None,
        "end": hit.end if hit.is_video else None,
        "time": hit.time if hit.is_video else None,
        "size": record.size,
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "date": _date(record),
        "tags": dict(zip(record.tags, record.tag_probabilities, strict=True)),
        "near_duplicates": [other.path for other in hit.near_duplicates],
    }


def _date(record: Record) -> str:
    return datetime.fromtimestamp(record.date / 1e6, timezone.utc).isoformat()


def linked(path: str) -> str:
    """A path that opens what it leads to, in the markup of rich."""
    from tritonclip_search.looking.page import link

    return f"[link={link(path)}]{escaped(path)}[/link]"


def escaped(text: str) -> str:
    """Any text, in the markup of rich."""
    from rich.markup import escape

    return escape(text)
