"""`head train`, `apply` and `info`: small models on embeddings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritonclip_cli import output
from tritonclip_cli.archive_output import escaped, linked
from tritonclip_cli.archives import Place, Where
from tritonclip_cli.moderating import Pictures, pictures_of
from tritonclip_cli.options import Connection, Json, Template
from tritonclip_cli.queries import templates_from
from tritonclip_cli.values import PathOf, new_file

if TYPE_CHECKING:
    from tritonclip_search.heads.head import Head
    from tritonclip_search.heads.training import Trained
    from tritonclip_search.sources.item import Problem

HeadFile = Annotated[
    Path,
    typer.Argument(parser=PathOf("file"), metavar="FILE", help="A head, a .safetensors file."),
]


def train(
    labels: Annotated[
        Path,
        typer.Argument(
            parser=PathOf("file"),
            metavar="FILE",
            help="A CSV file with the columns path and label, or path and score.",
        ),
    ],
    *,
    to: Annotated[Path, new_file("The head's file.", "--output", "-o")] = Path("head.safetensors"),
    template: Template = None,
    indexed: Annotated[
        bool, typer.Option("--indexed", help="Take the vectors that the collection holds.")
    ] = False,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Fit a head to labelled pictures, and say what to expect of it beside zero-shot."""
    import numpy as np

    from tritonclip_search.errors import InvalidLabels
    from tritonclip_search.heads import training
    from tritonclip_search.heads.file import to_bytes
    from tritonclip_search.policy import pictures

    examples = training.read_examples(labels)
    places = {path: row for row, path in enumerate(examples.paths)}
    with connection.client() as client:
        if indexed:
            with place.open(connection) as collection:
                coming = pictures.from_collection(collection)
                found = {p.path: p.vector for p in coming if p.path in places}
        else:
            there = [path for path in places if "://" in path or Path(path).exists()]
            coming = pictures.from_files(there, client, _tell) if there else iter(())
            found = {picture.path: picture.vector for picture in coming}
        kept = sorted(places[path] for path in found)
        if not kept:
            raise InvalidLabels(
                f"{labels}: none of its pictures is there, e.g. {next(iter(places))}"
            )
        examples = examples.at(kept)
        vectors = np.stack([found[path] for path in examples.paths])
        zero_shot = None
        if not examples.are_scores:
            names = training.labels_of(examples)
            zero_shot = client.label_embeddings(names, templates_from(template, "photo"))
        trained = training.train(examples, vectors, client.info(), to.stem, zero_shot)
    to.write_bytes(to_bytes(trained.head))
    if missing := len(places) - len(kept):
        _tell(f"{missing} of the {len(places)} labelled pictures are not there")
    if json:
        output.print_json(_trained_json(trained, to))
    else:
        _print_trained(trained, to)


def apply(
    head: HeadFile,
    paths: Pictures = None,
    *,
    where: Where = None,
    place: Place,
    connection: Connection,
    json: Json = False,
) -> None:
    """Score pictures with a head, the highest first; without paths, those of the collection."""
    import numpy as np

    from tritonclip_search.heads import file
    from tritonclip_search.heads.card import check_space

    loaded = file.load(head)
    problems: list[Problem] = []
    with pictures_of(paths, where, place, connection, problems) as (client, coming):
        check_space(loaded, client.info())
        found = list(coming)
    scores = loaded.scores(
        np.stack([picture.vector for picture in found])
        if found
        else np.empty((0, loaded.dim), np.float32)
    )
    order = np.argsort(-scores.max(axis=1), kind="stable")
    if json:
        rows = [
            {
                "path": found[row].path,
                "scores": dict(zip(loaded.labels, scores[row].tolist(), strict=True)),
            }
            for row in order
        ]
        output.print_json(rows)
    else:
        for row in order:
            said = ", ".join(
                f"{escaped(label)} {score:.3f}"
                for label, score in zip(loaded.labels, scores[row].tolist(), strict=True)
            )
            output.console().print(f"{said}  {linked(found[row].path)}")
    for problem in problems:
        _tell(f"failed: {problem}")
    if problems:
        raise typer.Exit(1)


def info(head: HeadFile, json: Json = False) -> None:
    """Show what a head is: its layout, what it takes and gives, and its card."""
    from tritonclip_search.heads import file

    described = _described(file.load(head))
    if json:
        output.print_json(described)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for key, value in described.items():
        table.add_row(key, escaped(str(value)))
    output.console().print(table)


def _described(head: Head) -> dict[str, Any]:
    return {
        "name": head.name,
        "layout": head.layout,
        "takes": f"unit vectors of {head.dim}",
        "gives": head.output,
        "labels": list(head.labels),
        "layers": [list(layer.weight.shape) for layer in head.layers],
        "sha256": head.sha256,
        **head.card,
    }


def _trained_json(trained: Trained, to: Path) -> dict[str, Any]:
    return {
        "output": to,
        "labels": list(trained.head.labels),
        "figure": trained.figure,
        "interval": list(trained.interval),
        "zero_shot": trained.zero_shot,
        "sizes": [vars(size) for size in trained.sizes],
        "overtakes_zero_shot_at": trained.overtakes,
        "card": dict(trained.head.card),
    }


def _print_trained(trained: Trained, to: Path) -> None:
    console = output.console()
    low, high = trained.interval
    if trained.zero_shot is None:
        console.print(
            f"R² [bold]{trained.figure:.3f}[/] ({low:.3f} to {high:.3f}) on unseen pictures"
        )
    else:
        console.print(
            f"accuracy [bold]{trained.figure:.1%}[/] ({low:.1%} to {high:.1%}) on unseen pictures, "
            f"each label counting the same; zero-shot {trained.zero_shot:.1%}"
        )
        for size in trained.sizes:
            console.print(
                f"  with {size.examples} of each label {size.accuracy:.1%} ± {size.deviation:.1%}"
            )
        if trained.overtakes is not None:
            console.print(f"better than zero-shot from {trained.overtakes} of each label on")
        elif trained.sizes:
            console.print(
                "[yellow]not better than zero-shot with fewer than all of these examples[/]"
            )
    console.print(f"head [bold]{escaped(str(to))}[/]")


def _tell(what: object) -> None:
    print(what, file=sys.stderr)
