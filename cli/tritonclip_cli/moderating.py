"""`moderate`: decisions on pictures by a written policy."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.archives import Place, Where
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Connection, Json
from tritonclip_cli.policy_output import print_moderated
from tritonclip_cli.queries import lines_of
from tritonclip_cli.values import ANY_NAME, file, new_file

if TYPE_CHECKING:
    from tritonclip import Client
    from tritonclip_search.policy.moderation import Moderated
    from tritonclip_search.policy.picture import Picture
    from tritonclip_search.sources.item import Problem

_RECORDED = 256  # decisions that are recorded at a time

BLOCKED, REVIEWED = 4, 3
"""Exit statuses where a picture is blocked, or goes to a person."""

Pictures = Annotated[
    list[str] | None,
    typer.Argument(
        parser=ANY_NAME, help="Pictures, folders, globs. Without: the collection. - reads stdin."
    ),
]


@dataclass(frozen=True)
class Shown(Group, panel="How to look at it"):
    """What becomes of the decisions beside or instead of a table."""

    everything: Annotated[
        bool, typer.Option("--all", help="In the table, what is allowed without a mark, too.")
    ] = False
    page: Annotated[
        Path | None, new_file("Write a page of the pictures, blurred until clicked.")
    ] = None


def moderate(
    paths: Pictures = None,
    *,
    policy: Annotated[Path, file("The policy, a YAML file.")],
    where: Where = None,
    crops: Annotated[
        bool,
        typer.Option(
            "--crops",
            help="Look at five crops of each picture: five times the work, see the guide.",
        ),
    ] = False,
    audit: Annotated[
        Path | None, new_file("Append each decision to this log, see `policy audit`.")
    ] = None,
    shown: Shown,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Decide on pictures by a policy: allow, label, review or block, each with its evidence.

    Of videos, time ranges are decided on, a frame a second, or as they are indexed. Without paths,
    the collection is decided on, from the vectors that it holds. The exit status is 4 where a
    picture is blocked, 1 where one could not be read or embedded, 3 where one is for a person to
    review, and 0 where all are allowed.
    """
    from tritonclip_search.policy import load, prepare
    from tritonclip_search.policy.audit import AuditLog
    from tritonclip_search.policy.moderation import joined
    from tritonclip_search.policy.moderation import moderate as decide_on

    loaded = load(policy)
    problems: list[Problem] = []
    chosen = pictures_of(paths, where, place, connection, problems, in_crops=crops)
    with chosen as (client, pictures):
        prepared = prepare(loaded, client)
        moderated = []
        coming = decide_on(prepared, pictures)
        while batch := list(islice(coming, _RECORDED)):
            if audit is not None:
                AuditLog(audit).append(prepared, batch)
            moderated += batch
        moderated = joined(moderated)
        source = client.info().source
    counts = Counter(one.decision.action.value for one in moderated)
    if json:
        output.print_json(
            {
                "policy": loaded.name,
                "policy_sha256": loaded.sha256,
                "model": source,
                "counts": counts,
                "pictures": [one.to_plain() for one in moderated],
                "failed": [str(problem) for problem in problems],
            }
        )
    else:
        print_moderated(moderated, everything=shown.everything)
    if shown.page is not None:
        _write_page(shown.page, loaded.name, moderated)
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    if status := _status(counts, problems):
        raise typer.Exit(status)


@contextmanager
def pictures_of(
    paths: Sequence[str] | None,
    where: str | None,
    place: Place,
    connection: Connection,
    problems: list[Problem],
    *,
    in_crops: bool = False,
) -> Iterator[tuple[Client, Iterator[Picture]]]:
    """A client, and the pictures at `paths`, or in the collection where there are none."""
    from tritonclip_search.policy import pictures

    if paths:
        if where is not None:
            raise InvalidArgument("--where asks a collection; leave out the paths, or it")
        with connection.client() as client:
            named = lines_of(paths)
            yield client, pictures.from_files(named, client, problems.append, in_crops=in_crops)
    elif in_crops:
        raise InvalidArgument("--crops looks at pictures anew; name their paths")
    else:
        with connection.client() as client, place.open(connection) as collection:
            yield client, pictures.from_collection(collection, where)


def _status(counts: Counter[str], problems: Sequence[Problem]) -> int:
    if counts["block"]:
        return BLOCKED
    if problems:
        return 1
    return REVIEWED if counts["review"] else 0


def _write_page(to: Path, name: str, moderated: Sequence[Moderated]) -> None:
    from tritonclip_search.policy.page import page

    to.write_text(page(name, f"{len(moderated):,} pictures.", moderated), encoding="utf-8")
    output.console(stderr=True).print(f"page [bold]{to}[/]")
