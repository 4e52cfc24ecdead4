"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from tritonclip_cli import (
    archives,
    assembling,
    benching,
    building,
    bulking,
    capacity,
    gateways,
    heads,
    moderating,
    policies,
    queries,
    serving,
    toolchain,
    tuning,
)
from tritonclip_cli.failures import report
from tritonclip_cli.groups import flat

app = typer.Typer(
    name="tritonclip",
    help="Any CLIP-family checkpoint as a verified Triton Inference Server deployment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        typer.echo(f"tritonclip {importlib.metadata.version('tritonclip')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read in `main`, before the command: a failure may come from parsing already."""
    del debug, version


_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "From checkpoint to server": (
        toolchain.models,
        toolchain.export,
        building.build,
        assembling.assemble,
        toolchain.verify,
        serving.serve,
        serving.doctor,
    ),
    "Query a running server": (queries.embed, queries.classify, queries.info),
    "Very many pictures": (bulking.bulk,),
    "An archive of pictures and videos": (
        archives.index,
        archives.search,
        archives.duplicates,
        archives.tag,
        archives.collections,
    ),
    "Decisions on pictures": (moderating.moderate,),
    "HTTP in front of it": (gateways.gateway, gateways.up),
    "Measure a running server": (benching.bench, benching.cost, capacity.capacity, tuning.tune),
}
_GROUPS: dict[str, tuple[str, str, tuple[Callable[..., None], ...]]] = {
    "policy": (
        "Decisions on pictures",
        "Write policies that can be trusted.",
        (
            policies.check,
            policies.calibrate,
            policies.evaluate,
            policies.audit,
            policies.replay,
            policies.attack,
        ),
    ),
    "head": (
        "Decisions on pictures",
        "Small models on embeddings: tags that fit a domain, aesthetic scores.",
        (heads.train, heads.apply, heads.info),
    ),
}
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(flat(_command))
for _name, (_panel, _help, _commands) in _GROUPS.items():
    _group = typer.Typer(help=_help, no_args_is_help=True)
    _group.callback()(lambda: None)  # a group even where it has a single command
    for _command in _commands:
        _group.command()(flat(_command))
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


def program() -> None:
    """Run `main` as a process of its own, and end it without taking all objects apart.

    That would take Python two seconds where PyTorch has been imported.
    """
    try:
        main()
    except SystemExit as end:
        if "torch" not in sys.modules or not isinstance(end.code, int):
            raise
        atexit._run_exitfuncs()
        with suppress(OSError):  # what could not be written is Python's to tell, at its own end
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise


def main() -> None:
    """Run the command line; errors made on purpose are one paragraph and exit status 1."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Accepted anywhere, as people add it to the end of the command that just failed.
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # File names are any bytes, and terminals have any encoding: neither is worth a failure.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        status = report(error)
        if isinstance(error, OSError):
            _drop_output()
        sys.exit(status)


def _drop_output() -> None:
    """Let go what standard output holds still: Python would complain at its end, too."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
