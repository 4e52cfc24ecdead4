"""What `build` shows: the graphs that were written, or a table of engines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tritonclip_cli import output

if TYPE_CHECKING:
    from tritonclip_export.bundle import Artifact
    from tritonclip_export.tensorrt.engines import Outcome


def print_outcome(
    bundle: Path, graphs: tuple[Artifact, ...], outcome: Outcome | None, *, json: bool
) -> None:
    """Print the graphs that were written, or the engines that were compiled from them."""
    from tritonclip_export.tensorrt.engines import FOLDER

    built = outcome.built if outcome else ()
    unchanged = outcome.unchanged if outcome else ()
    if json:
        output.print_json(
            {
                "path": bundle,
                "graphs": [graph.model_dump(mode="json") for graph in graphs],
                "built": [artifact.model_dump(mode="json") for artifact in built],
                "unchanged": [artifact.model_dump(mode="json") for artifact in unchanged],
            }
        )
        return
    console = output.console()
    assemble = f"next: tritonclip assemble {shlex.quote(str(bundle))}"
    if not outcome:
        console.print("  ".join(f"[bold]{bundle / graph.file}[/]" for graph in graphs))
        if graphs[0].format == "openvino":
            console.print(f"[dim]{assemble} --runtime openvino[/]")
        elif graphs[0].precision == "int8":
            console.print("[dim]int8 is for ONNX Runtime on CPUs: no engine is compiled from it[/]")
        return
    _print_engines(built, unchanged)
    if (built + unchanged)[0].format == "tensorrt":
        use = f"{assemble} --runtime tensorrt"
    else:
        use = "for ONNX Runtime with TensorRT-RTX; Triton takes plans of the full TensorRT only"
    console.print(f"engines in [bold]{bundle / FOLDER}[/]  [dim]{use}[/]")


def _print_engines(built: tuple[Artifact, ...], unchanged: tuple[Artifact, ...]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("engine", no_wrap=True)
    for column in ("compiled", "size", "layers", "memory", "batch", "opt"):
        table.add_column(column, justify="right", no_wrap=True)
    for artifact in (*built, *unchanged):
        engine = artifact.engine
        if engine is None:
            continue
        table.add_row(
            Path(artifact.file).name,
            f"{engine.build_seconds:.1f} s" if artifact in built else "up to date",
            _mib(engine.size_bytes),
            str(engine.layers or ""),
            _mib(engine.device_memory_bytes) if engine.device_memory_bytes else "",
            str(artifact.max_batch),
            str(engine.profiles[0].opt[0]),
        )
    output.print_table(table)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
