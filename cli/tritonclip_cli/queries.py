"""`embed`, `classify` and `info`: ask a running server, from a shell."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tritonclip.errors import InvalidArgument, InvalidInput, TritonClipError
from tritonclip_cli import output
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
from tritonclip_cli.values import ANY_NAME, new_file, shown
from tritonclip_export.samples import decoded, images_in, texts_in
from tritonclip_search.sources.item import is_video

if TYPE_CHECKING:
    from tritonclip.types import Classification
    from tritonclip_cli.clip_vectors import Pooling


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(
            parser=ANY_NAME,
            help="Image files and folders, or videos; with --text, texts. - reads lines of stdin.",
        ),
    ],
    *,
    text: Annotated[bool, typer.Option("--text", "-t", help="The inputs are texts.")] = False,
    long: Annotated[
        Literal["cut", "mean"],
        typer.Option(help="Texts beyond the model's context: cut off, or the mean of their parts."),
    ] = "cut",
    pool: Annotated[
        Literal["mean", "max", "weighted", "none"],
        typer.Option(help="A vector for each video, pooled of its frames, or none: one a frame."),
    ] = "mean",
    fps: Fps = 1.0,
    to: Annotated[
        Path | None,
        new_file("A .npy, .npz, .parquet or .jsonl file. [jsonl, stdout]", "--output", "-o"),
    ] = None,
    encoding: Encoding = UTF8,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace also what has more vectors, or is something else."
        ),
    ] = False,
    connection: Connection,
    json: Json = False,
) -> None:
    """Embed images, videos or texts.

    An image that cannot be embedded is reported and left out (in a .npy, which has no names, its
    row is NaN); the others are written all the same, and the exit status is 1. What is interrupted
    goes on where it was when it is run again, videos from their beginning.
    """
    from tritonclip_cli import embedding_files
    from tritonclip_cli.embedding_run import Run, Stream, journal_beside
    from tritonclip_search.vector_files import Origin

    began = time.monotonic()
    target = None if to is None else embedding_files.check(to, overwrite=overwrite)
    there = 0 if target is None or overwrite else embedding_files.rows_in(target) or 0
    if not text and any(map(is_video, inputs)):
        _embed_videos(inputs, pool, fps, target, there, connection, json=json)
        return
    items = lines_of(inputs, encoding) if text else _image_files(inputs)
    with connection.client() as client, _counting(quiet=to is None or json) as show:
        model = client.info()
        kind = f"texts, long: {long}" if text else "images"
        stream: Stream = partial(client.stream_texts, long=long) if text else client.stream_images
        with (
            journal_beside(target, model, kind, anew=overwrite) as journal,
            embedding_files.open_writer(target, Origin.of(model), keep=there) as writer,
        ):
            run = Run(writer, journal, are_files=not text)
            run.through(items, stream, show)
            if not run.count:
                raise InvalidArgument(f"nothing to embed in {shown(' '.join(inputs))!r}")
            _name(run.failed)
    embedded = run.count - len(run.failed)
    if to is not None and json:
        messages = [str(error) for error in run.failed]
        output.print_json(
            {
                "output": to,
                "embedded": embedded,
                "earlier": run.earlier,
                "dim": model.dim,
                "failed": messages,
            }
        )
    elif to is not None:
        rate = (run.count - run.earlier) / (time.monotonic() - began)
        earlier = f", {run.earlier:,} of them by an earlier run" if run.earlier else ""
        output.console().print(
            f"{embedded} x {model.dim}{earlier} -> [bold]{shown(to)}[/]  "
            f"[dim]{rate:,.0f} a second[/]"
        )
    if run.failed:
        raise typer.Exit(1)


def _embed_videos(
    files: Sequence[str],
    pool: Pooling,
    fps: float,
    to: Path | None,
    keep: int,
    connection: Connection,
    *,
    json: bool,
) -> None:
    from tritonclip_cli.clip_vectors import write_clips
    from tritonclip_cli.embedding_files import open_writer
    from tritonclip_search.vector_files import Origin

    if others := [file for file in files if not is_video(file)]:
        raise InvalidArgument(f"{shown(others[0])} is no video; embed pictures by themselves")
    with (
        connection.client() as client,
        _counting(quiet=to is None or json) as show,
        open_writer(to, Origin.of(client.info()), keep=keep) as writer,
    ):
        failed = write_clips(files, client, writer, pool=pool, fps=fps, show=show)
        rows = writer.rows
        dim = client.info().dim
    if to is not None and json:
        messages = [str(error) for error in failed]
        output.print_json({"output": to, "embedded": rows, "dim": dim, "failed": messages})
    elif to is not None:
        output.console().print(f"{rows} x {dim} -> [bold]{shown(to)}[/]")
    _report(failed)


def classify(
    images: Annotated[list[str], typer.Argument(parser=ANY_NAME, help="Image files and folders.")],
    *,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    encoding: Encoding = UTF8,
    template: Template = None,
    top: Annotated[int, typer.Option(min=1, help="Labels to show for each image.")] = 3,
    connection: Connection,
    json: Json = False,
) -> None:
    """Classify images by labels the model was never trained for.

    An image that cannot be embedded is reported and left out; the exit status is then 1.
    """
    from tritonclip.scoring import classifications

    wanted = labels_from(labels, labels_file, encoding)
    templates = templates_from(template, "photo")
    files = list(_image_files(images))
    if not files:
        raise InvalidArgument(f"no images in {' '.join(images)!r}")
    failed: list[InvalidInput] = []
    with connection.client() as client:
        label_vectors = client.label_embeddings(wanted, templates)
        vectors = client.embed_images(files, on_error=failed.append)
        bad = {error.index for error in failed}
        good = [i for i in range(len(files)) if i not in bad]
        classified = classifications(vectors[good], label_vectors, wanted, client.info())
    results = list(zip((files[i] for i in good), classified, strict=True))
    if json:
        output.print_json(
            [
                {"image": file, "labels": [{"label": x, "probability": p} for x, p in r.top(top)]}
                for file, r in results
            ]
        )
    else:
        _print_classified(results, top)
    _report(failed)


def _print_classified(results: Sequence[tuple[str, Classification]], top: int) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("image", no_wrap=True)
    table.add_column("label")
    table.add_column("probability", no_wrap=True)
    for file, result in results:
        for rank, (label, probability) in enumerate(result.top(top)):
            style = "bold" if rank == 0 else "dim"
            bar = "█" * round(20 * probability)
            table.add_row(
                file if rank == 0 else "",
                f"[{style}]{_escaped(label)}[/]",
                f"{probability:6.1%} [cyan]{bar}[/]",
            )
    output.print_table(table)


def info(connection: Connection, json: Json = False) -> None:
    """Show what a running server serves, and whether it is well."""
    with connection.client() as client:
        health = client.health()
        described = client.info()
    if json:
        output.print_json({**asdict(described), "health": asdict(health)})
        return
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    rows: dict[str, Any] = {
        "model": f"[bold]{described.name}[/]",
        "source": described.source,
        "weights": f"sha256 {described.weights_sha256[:16]}...",
        "image": f"{described.image_width} x {described.image_height} pixels, "
        f"from files of up to {described.max_image_bytes:,} bytes",
        "text": f"up to {described.context_length} tokens, {described.max_text_bytes:,} bytes",
        "embedding": f"{described.dim} x float32, unit length",
        "similarity": f"{described.similarity}, scale {described.logit_scale:.4g}, "
        f"bias {described.logit_bias:.4g}",
        "runtime": f"{described.runtime}, {described.precision}",
        "preprocess": described.preprocess
        + (", turned by EXIF orientation" if described.orient else ""),
        "batch": f"up to {described.max_batch_size} a request",
        "server": f"Triton {health.server_version}, "
        + ("[green]ready[/]" if health.ok else f"[red]not ready: {health.detail}[/]"),
    }
    if described.scores:
        rows["scores"] = ", ".join(described.scores)
    for key, value in rows.items():
        table.add_row(key, value)
    output.console().print(table)


def _report(failed: Sequence[TritonClipError]) -> None:
    """Name what could not be embedded, and end with status 1 if there was any."""
    _name(failed)
    if failed:
        raise typer.Exit(1)


def _name(failed: Sequence[TritonClipError]) -> None:
    for error in failed:
        print(f"failed: {error}", file=sys.stderr)


@contextmanager
def _counting(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A count on standard error while many inputs go through."""
    if quiet:
        yield lambda _: None
        return
    with output.console(stderr=True).status("embedding") as status:
        yield lambda count: status.update(f"{count} embedded")


def _image_files(inputs: Sequence[str]) -> Iterator[str]:
    """Files as they are, the images below folders in order, lines of standard input for `-`."""
    for item in lines_of(inputs):
        if item and os.path.isdir(item):  # noqa: PTH112 (which raises for what is too long)
            yield from map(str, images_in(Path(item)))
        else:
            yield item


def templates_from(given: Sequence[str] | None, default: str) -> str | Sequence[str]:
    """What `--template` says: the name of some, or sentences."""
    if not given:
        return default
    return given[0] if len(given) == 1 and "{}" not in given[0] else given


def lines_of(inputs: Sequence[str], encoding: str | None = None) -> Iterator[str]:
    """The inputs, with the lines of standard input in the place of `-`.

    Args:
        inputs: as they were given.
        encoding: of standard input; None for paths, which may be any bytes.

    Raises:
        InvalidArgument: a line is not in that encoding.
    """
    for item in inputs:
        if item != "-":
            yield item
        elif encoding:
            yield from decoded(sys.stdin.buffer, "standard input", encoding)
        else:
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)


def labels_from(labels: str | None, file: Path | None, encoding: str) -> list[str]:
    """The labels of `--labels` or `--labels-file`, each once: a second one halves both.

    Raises:
        InvalidArgument: both or neither are given, there is no label, or the file is not in
            `encoding`.
    """
    if (labels is None) == (file is None):
        raise InvalidArgument("give the labels either with --labels or with --labels-file")
    if labels is not None:
        found = labels.split(",")
    else:
        assert file is not None
        found = texts_in(file, encoding)
    stripped = [label.strip() for label in found if label.strip()]
    if not stripped:
        where = "--labels" if file is None else f"--labels-file {file}"
        raise InvalidArgument(f"there are no labels in {where}; write --labels 'cat, dog'")
    times = Counter(stripped)
    for label in (label for label, count in times.items() if count > 1):
        print(f"the label {label!r} is there {times[label]} times; it counts once", file=sys.stderr)
    return list(times)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
