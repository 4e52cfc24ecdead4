"""`policy`: what is done with policies before they decide, and after they did."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.archive_output import escaped
from tritonclip_cli.archives import Place, Where
from tritonclip_cli.groups import Group
from tritonclip_cli.moderating import Pictures, pictures_of
from tritonclip_cli.options import Connection, Json
from tritonclip_cli.policy_output import (
    calibrated_json,
    print_attacked,
    print_calibrated,
    print_evaluated,
    print_findings,
    print_replayed,
    replayed_json,
)
from tritonclip_cli.values import ANY_NAME, PathOf, file, new_file

if TYPE_CHECKING:
    from tritonclip import Client
    from tritonclip.types import FloatArray
    from tritonclip_search.policy import Policy
    from tritonclip_search.policy.labels import Labels
    from tritonclip_search.sources.item import Problem

PolicyFile = Annotated[
    Path, typer.Argument(parser=PathOf("file"), metavar="FILE", help="The policy, a YAML file.")
]


def check(
    policy: PolicyFile,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no server; its words alone are checked.")
    ] = False,
    connection: Connection,
    json: Json = False,
) -> None:
    """Find what is wrong with a policy, in its words and with the model.

    Contradictions, prompts that the model cannot tell apart or read to their ends, thresholds that
    are not for it. The exit status is 1 where the policy cannot do what it says.
    """
    from tritonclip_search.policy import load
    from tritonclip_search.policy.checking import check, check_with_model

    loaded = load(policy)
    found = check(loaded)
    if not offline:
        with connection.client() as client:
            found += check_with_model(loaded, client)
    if json:
        output.print_json([asdict(finding) for finding in found])
    else:
        print_findings(loaded, found, with_model=not offline)
    if any(finding.is_error for finding in found):
        raise typer.Exit(1)


@dataclass(frozen=True)
class Labelled(Group):
    """Pictures of which people have said what they show."""

    labels: Annotated[
        Path, file("A CSV file: path, perhaps group, and a column of 1 and 0 for each rule.")
    ] = Path("labels.csv")
    indexed: Annotated[
        bool, typer.Option("--indexed", help="Take the vectors that the collection holds.")
    ] = False

    @contextmanager
    def read(
        self, policy: Policy, place: Place, connection: Connection
    ) -> Iterator[tuple[Client, Labels, FloatArray]]:
        """A client, the labels whose pictures are there, and their vectors."""
        from tritonclip_search.policy import labels, pictures

        said = labels.read(self.labels, [rule.name for rule in policy.rules])
        with connection.client() as client:
            if self.indexed:
                with place.open(connection) as collection:
                    found, vectors = said.with_vectors(pictures.from_collection(collection))
            else:
                there = [path for path in said.paths if "://" in path or Path(path).exists()]
                coming = pictures.from_files(there, client, _tell) if there else iter(())
                found, vectors = said.with_vectors(coming)
            if missing := len(said.paths) - len(found.paths):
                _tell(f"{missing} of the {len(said.paths)} labelled pictures are not there")
            yield client, found, vectors


def calibrate(
    policy: PolicyFile,
    *,
    labelled: Labelled,
    curves: Annotated[
        Path | None, new_file("Draw what was seen: a file that ends in .svg or .png.")
    ] = None,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Choose thresholds from labelled pictures, for the precision or recall each rule wants.

    They are written into the policy, whose comments stay. Where the labels do not suffice, nothing
    is promised: the rule is left as it was, the number of missing pictures is said, and the exit
    status is 1.
    """
    from tritonclip_search.policy import load, prepare
    from tritonclip_search.policy.calibration import Calibrated, Refused, calibrate
    from tritonclip_search.policy.curves import draw
    from tritonclip_search.policy.writing import write_thresholds

    loaded = load(policy)
    with labelled.read(loaded, place, connection) as (client, labels, vectors):
        prepared = prepare(loaded, client, uncalibrated=True)
        results = calibrate(prepared, labels, vectors)
    chosen = [one for one in results if isinstance(one, Calibrated)]
    refused = [one for one in results if isinstance(one, Refused)]
    if chosen:
        write_thresholds(loaded, chosen)
        if curves is not None:
            draw(chosen, curves)
    if json:
        output.print_json(calibrated_json(chosen, refused))
    else:
        print_calibrated(policy, chosen)
    for one in refused:
        print(f"refused: {one.why}", file=sys.stderr)
    if refused:
        raise typer.Exit(1)


def evaluate(
    policy: PolicyFile,
    *,
    labelled: Labelled,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Measure a policy on labelled pictures: per rule, and per group where the labels name some."""
    from tritonclip_search.policy import load, prepare
    from tritonclip_search.policy.evaluation import chosen_on, evaluate

    loaded = load(policy)
    with labelled.read(loaded, place, connection) as (client, labels, vectors):
        results = evaluate(prepare(loaded, client), labels, vectors)
    if same := chosen_on(loaded, labels):
        _tell(
            f"note: the thresholds of {', '.join(same)} were chosen on these very labels, which "
            "flatter them; measure on others"
        )
    if json:
        output.print_json([asdict(one) for one in results])
    else:
        print_evaluated(results)


def audit(
    log: Annotated[Path, typer.Argument(help="What `moderate --audit` wrote.")],
    *,
    policy: Annotated[
        Path | None,
        file("Decide again on some of the pictures by this policy, which decided on them then."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="On how many.")] = 20,
    known: Annotated[
        str | None, typer.Option(metavar="HASH", help="A last hash noted earlier; must be in it.")
    ] = None,
    connection: Connection,
    json: Json = False,
) -> None:
    """Find out whether a log of decisions is as it was written, and can be reproduced.

    The exit status is 1 where a line was changed, is missing, or comes out otherwise.
    """
    from tritonclip_search.policy import load, prepare
    from tritonclip_search.policy.audit import recompute, verify

    found = verify(log, known)
    if policy is not None:
        with connection.client() as client:
            recompute(found, log, prepare(load(policy), client), client, sample)
    if json:
        output.print_json(asdict(found))
    else:
        for problem in found.problems:
            output.console().print(f"[red]wrong[/]  {escaped(problem)}")
        for skipped in found.skipped:
            output.console().print(f"[dim]skipped  {escaped(skipped)}[/]")
        again = f", {found.recomputed:,} decided again alike" if policy is not None else ""
        output.console().print(
            f"{found.lines:,} lines, {len(found.problems):,} wrong{again}\nlast hash {found.last}"
        )
    if found.problems:
        raise typer.Exit(1)


def replay(
    new: PolicyFile,
    paths: Pictures = None,
    *,
    old: Annotated[Path | None, file("What decides until now: another policy.")] = None,
    audit: Annotated[Path | None, file("Or what was decided, as a log of `moderate` says.")] = None,
    where: Where = None,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Show what a new policy would decide otherwise, on a collection's vectors or on pictures."""
    from tritonclip_search.policy import load, prepare
    from tritonclip_search.policy.replay import by_log, by_policy, replay

    if (old is None) == (audit is None):
        raise InvalidArgument("give what decided until now, either with --old or with --audit")
    loaded = load(new)
    problems: list[Problem] = []
    with pictures_of(paths, where, place, connection, problems) as (client, pictures):
        if old is not None:
            before = by_policy(prepare(load(old), client))
        else:
            assert audit is not None
            before = by_log(audit)
        found = replay(prepare(loaded, client), pictures, before)
    if json:
        output.print_json(replayed_json(found))
    else:
        print_replayed(found)
    for problem in problems:
        _tell(f"failed: {problem}")


def attack(
    policy: PolicyFile,
    paths: Annotated[list[str], typer.Argument(parser=ANY_NAME, help="Pictures, folders, globs.")],
    *,
    sample: Annotated[int, typer.Option(min=1, help="How many pictures are attacked.")] = 100,
    connection: Connection,
    json: Json = False,
) -> None:
    """Mislead a policy on your own pictures, and measure what helps.

    Words are drawn onto them; they are turned, cropped, and saved with low quality. Said is the
    share of each rule's answers that flip, and what is left of it with each counter-measure.
    """
    from tritonclip_search.policy import load
    from tritonclip_search.policy.attacks import attack
    from tritonclip_search.policy.pictures import sampled

    loaded = load(policy)
    with connection.client() as client, output.console(stderr=True).status("attacking") as status:
        files = sampled(paths, sample, client.info().max_image_bytes, _tell)
        measured = attack(
            loaded, client, files, lambda done: status.update(f"{done} of {len(files)} attacked")
        )
    if json:
        output.print_json(asdict(measured))
    else:
        print_attacked(measured)


def _tell(what: object) -> None:
    print(what, file=sys.stderr)
