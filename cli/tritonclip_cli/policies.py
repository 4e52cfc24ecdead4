"""`policy check`, `calibrate` and `evaluate`: policies, before they decide."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip_cli import output
from tritonclip_cli.archives import Place
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Connection, Json
from tritonclip_cli.policy_output import (
    calibrated_json,
    print_calibrated,
    print_evaluated,
    print_findings,
)
from tritonclip_cli.values import file

if TYPE_CHECKING:
    from tritonclip import Client
    from tritonclip.types import FloatArray
    from tritonclip_search.policy import Policy
    from tritonclip_search.policy.labels import Labels

PolicyFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The policy, a YAML file.")
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
        Path | None, typer.Option(help="Draw what was seen: a file that ends in .svg or .png.")
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


def _tell(what: object) -> None:
    print(what, file=sys.stderr)
