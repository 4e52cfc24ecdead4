"""`models`, `export` and `verify`: from a checkpoint to a bundle that is proven."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import UTF8, Encoding, HubFolder, Json, known_address
from tritonclip_cli.values import ANY_NAME, check, file, folder, new_file, new_folder
from tritonclip_export.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tritonclip_export.bundle import Parity, Tower
    from tritonclip_export.checkpoint.catalogue import Entry
    from tritonclip_export.export.token_outputs import Layers


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Show only what has all these words in its name, family or tags."),
    ] = None,
    json: Json = False,
) -> None:
    """List the architectures and pretrained tags that can be exported by name."""
    from tritonclip_export.checkpoint import catalogue

    words = words or []
    found = catalogue.search(words)
    if json:
        output.print_json([asdict(entry) for entry in found])
        return
    if not found:
        output.console().print(_nothing_has(words), markup=False)
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("architecture", overflow="fold", min_width=24)
    for column in ("pixels", "dim", "tokens", "parameters"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("pretrained tags", overflow="fold", min_width=16)
    family = None
    for entry in sorted(found, key=lambda entry: entry.family):
        if entry.family != family:
            family = entry.family
            table.add_row(f"[bold]{family}[/]")
        table.add_row(
            f"  {entry.architecture}",
            "x".join(map(str, dict.fromkeys((entry.image_height, entry.image_width)))),
            str(entry.dim),
            str(entry.context_length),
            f"{entry.image_parameters / 1e6:.0f}+{entry.text_parameters / 1e6:.0f}M",
            _tags(entry),
        )
    output.print_table(table)
    output.console().print(
        f"[dim]{_counted(found)}; parameters of the image and the text tower. Any other checkpoint "
        "of these families is exported from hf-hub:ORG/NAME or its folder.[/]"
    )


def _counted(found: Sequence[Entry]) -> str:
    """How many there are of each kind, and how they are exported."""
    from tritonclip_export.checkpoint import catalogue

    others = sum(entry.is_on_hub for entry in found)
    here = len(found) - others
    kinds = (
        (
            here,
            "architecture",
            f"of open_clip {catalogue.open_clip_version()}, to export as ARCHITECTURE:TAG",
        ),
        (others, "checkpoint", "of others, to export by their name"),
    )
    return ", and ".join(
        f"{count} {noun}{'s' * (count > 1)} {rest}" for count, noun, rest in kinds if count
    )


def _nothing_has(words: Sequence[str]) -> str:
    """What to say of a search that found nothing."""
    from tritonclip_export.checkpoint import catalogue, references

    known = [name for entry in catalogue.search() for name in (entry.family, entry.architecture)]
    return (
        f"nothing in the catalogue has {' and '.join(map(repr, words))}."
        f"{references.nearest(' '.join(words), known)} Fewer or shorter words find more."
    )


def _tags(entry: Entry) -> str:
    """The tags by licence: `MIT: openai laion2b_e16`."""
    by_licence: dict[str, list[str]] = {}
    for tag in entry.tags:
        by_licence.setdefault(tag.licence or "licence unknown", []).append(tag.name)
    return "\n".join(f"{licence}: {' '.join(names)}" for licence, names in by_licence.items())


def model_name(name: str) -> None:
    """Refuse what cannot name models."""
    from tritonclip_export.bundle import require_name

    require_name(name)


@dataclass(frozen=True)
class Outputs(Group):
    """What the encoders give besides the embedding."""

    outputs: Annotated[
        str,
        typer.Option(
            help="embedding; with ',tokens' also every patch's and text token's vector, or only "
            "one tower's with ',image_tokens' or ',text_tokens'."
        ),
    ] = "embedding"
    image_layer: Annotated[
        int, typer.Option(min=-1000, max=-1, help="Patch tokens after this layer; -1 is the last.")
    ] = -2
    text_layer: Annotated[
        int, typer.Option(min=-1000, max=-1, help="Text tokens after this layer; -1 is the last.")
    ] = -1

    def layers(self) -> Layers:
        """The optional outputs that were asked for, each with its layer."""
        towers: dict[str, tuple[Tower, ...]] = {
            "embedding": (),
            "tokens": ("image", "text"),
            "image_tokens": ("image",),
            "text_tokens": ("text",),
        }
        words = [word.strip() for word in self.outputs.split(",")]
        if unknown := [word for word in words if word not in towers]:
            raise InvalidArgument(f"--outputs takes {', '.join(towers)}, not {unknown[0]!r}")
        wanted = {tower for word in words for tower in towers[word]}
        layers: Layers = {"image": self.image_layer, "text": self.text_layer}
        return {tower: layer for tower, layer in layers.items() if tower in wanted}


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            parser=ANY_NAME,
            help="ARCH:TAG, ARCH:WEIGHTS_FILE, hf-hub:ORG/NAME or a folder "
            "(of open_clip or transformers).",
        ),
    ],
    *,
    to: Annotated[
        Path | None, new_folder("The bundle's folder. [bundles/NAME]", "--output", "-o")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(callback=check(model_name), help="What its models are called on the server."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, max=4096, help="The largest batch the server forms.")
    ] = 64,
    random_weights: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="SEED", help="Random weights, for a bare ARCH: to try or benchmark."
        ),
    ] = None,
    source: HubFolder = None,
    language: Annotated[
        str | None, typer.Option(help="The language of all texts, for NLLB: eng_Latn, deu_Latn ...")
    ] = None,
    outputs: Outputs,
    force: Annotated[
        bool, typer.Option("--force", help="Export again though nothing changed.")
    ] = False,
    json: Json = False,
) -> None:
    """Export a checkpoint to a bundle: two ONNX encoders, tokenizer.json and bundle.json."""
    from tritonclip_export.checkpoint.references import parse

    reference = parse(checkpoint)  # before PyTorch is imported, which takes seconds

    from tritonclip_export.checkpoint import loading as checkpoints
    from tritonclip_export.export.writing import export as write_bundle
    from tritonclip_export.export.writing import up_to_date

    tokens = outputs.layers()
    with output.Steps() as step:
        step(f"loading {checkpoint}")
        name = name or reference.default_name
        target = to or Path("bundles") / name
        loaded = checkpoints.load(
            reference, random_seed=random_weights, source=source, language=language
        )
        kept = None
        if not force:
            kept = up_to_date(loaded, target, name=name, max_batch=max_batch, tokens=tokens)
        bundle = kept or write_bundle(
            loaded, target, name=name, max_batch=max_batch, tokens=tokens, progress=step
        )
    fresh = kept is None
    if json:
        output.print_json(
            {"path": target, "exported": fresh, **bundle.info.model_dump(mode="json")}
        )
        return
    if fresh:
        _print_parity(bundle.info.parity)
    what = "bundle" if fresh else "up to date:"
    after = f"next: tritonclip assemble {shlex.quote(str(target))}"
    output.console().print(f"{what} [bold]{target}[/]  [dim]{after}[/]")


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            callback=check(known_address),
            help="Also compare this running server: HOST:PORT.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            parser=ANY_NAME, help="The checkpoint, if it is no longer where it was exported."
        ),
    ] = None,
    source: HubFolder = None,
    images: Annotated[
        Path | None,
        folder("A folder of your own images. [twelve photographs]"),
    ] = None,
    texts: Annotated[
        Path | None,
        file("A file of your own texts, one a line. [33 texts]"),
    ] = None,
    encoding: Encoding = UTF8,
    report: Annotated[Path | None, new_file("Write figures and plots to this HTML file.")] = None,
    json: Json = False,
) -> None:
    """Measure parity hop by hop, from the checkpoint's own library to a running server."""
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.parity.inputs import Inputs
    from tritonclip_export.verification import verify as hops

    loaded = Bundle.load(bundle)
    inputs = Inputs.of(images, texts, encoding)
    with output.Steps() as step:
        verified = hops.verify(
            loaded, inputs, checkpoint=checkpoint, hub_folder=source, server=server, progress=step
        )
    if report:
        from tritonclip_export.verification.report import write as write_report

        write_report(verified, report)
    figures = verified.bundle.info.parity
    if json:
        output.print_json([figure.model_dump() for figure in figures])
    else:
        _print_parity(figures)
    if broken := [figure.stage for figure in figures if not figure.passed]:
        raise ParityError(f"parity is broken at: {', '.join(broken)}")


def _print_parity(figures: tuple[Parity, ...]) -> None:
    from rich.table import Table

    from tritonclip_export.parity.figures import COLUMNS, cells

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True, min_width=1)
    stage, *numbers = COLUMNS
    table.add_column(stage, no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row("[green]✓[/]" if figure.passed else "[red]✗[/]", *cells(figure))
    output.print_table(table)
