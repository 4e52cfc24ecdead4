"""`assemble`: from bundles to a repository for one runtime."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip_cli import output
from tritonclip_cli.output import Json
from tritonclip_export.repository.runtimes import IN_PYTHON, Accelerator, Device, Runtime

if TYPE_CHECKING:
    from tritonclip_export.repository.assemble import Assembled


class Precision(str, Enum):
    """Of the encoders."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


class Preprocess(str, Enum):
    """How images become pixels."""

    exact = "exact"
    draft = "draft"
    dali = "dali"


_ENGINES = "Runtime tensorrt"
_GRAPHS = "Runtimes python, onnxruntime and openvino"


def assemble(
    bundles: Annotated[list[Path], typer.Argument(help="Folders that `export` wrote.")],
    to: Annotated[
        Path, typer.Option("--output", "-o", help="The repository's folder; may be in use.")
    ] = Path("repository"),
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="python: any machine. openvino: CPUs, from what `build --openvino` wrote. "
            "onnxruntime, tensorrt: NVIDIA's container."
        ),
    ] = "python",
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the encoders. (default: fp16 for GPUs, int8 for CPUs made for it, where the "
            "bundle has them; else fp32. openvino: int8, else bf16, else fp32)"
        ),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(min=1, help="Of each encoder, on each GPU or on the CPU. (default: 1)"),
    ] = None,
    preprocess: Annotated[
        Preprocess,
        typer.Option(
            help="exact: the checkpoint's own pixels. draft: large JPEGs in a fraction of the "
            "time. dali: JPEGs on the GPU."
        ),
    ] = Preprocess.exact,
    max_image_bytes: Annotated[int | None, typer.Option(help="Limit for one image.")] = None,
    max_image_pixels: Annotated[int | None, typer.Option(help="Limit for one image.")] = None,
    untuned: Annotated[
        bool,
        typer.Option(
            "--untuned", help="Drop what `tune` found, as --instances and --threads do, too."
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove models of bundles that are not named.")
    ] = False,
    tag: Annotated[
        str | None,
        typer.Option(
            help="Release of the container that will serve, like 26.07.", rich_help_panel=_ENGINES
        ),
    ] = None,
    tensorrt: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The TensorRT in it. (default: read from its image, or from a table)",
            rich_help_panel=_ENGINES,
        ),
    ] = None,
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            help="Record launches of kernels and replay them: faster, for some GPU memory.",
            rich_help_panel=_ENGINES,
        ),
    ] = True,
    device: Annotated[
        Device | None,
        typer.Option(help="(default: a GPU where there is one)", rich_help_panel=_GRAPHS),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of one instance on the CPU. (default: one a core)", rich_help_panel=_GRAPHS
        ),
    ] = None,
    accelerator: Annotated[
        Accelerator,
        typer.Option(
            help="onnxruntime on a GPU. tensorrt builds engines while the server starts.",
            rich_help_panel=_GRAPHS,
        ),
    ] = "cuda",
    engine_cache: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="On the server, writable: keeps what --accelerator tensorrt built.",
            rich_help_panel=_GRAPHS,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Assemble bundles into one Triton model repository."""
    from tritonclip.errors import InvalidArgument
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.repository import assemble
    from tritonclip_export.repository.execution import Execution
    from tritonclip_export.served.parameters import Limits
    from tritonclip_export.server import container
    from tritonclip_export.tensorrt import serving_version

    engines = runtime == "tensorrt"
    if (tag or tensorrt) and not engines:
        raise InvalidArgument("--tag and --tensorrt go with --runtime tensorrt")
    limits = {"max_image_bytes": max_image_bytes, "max_image_pixels": max_image_pixels}
    loaded = [Bundle.load(path) for path in bundles]
    done = assemble.assemble(
        loaded,
        to,
        runtime=runtime,
        execution=Execution(
            precision=precision.value if precision else None,
            device=device,
            instances=instances or 1,
            threads=threads,
            accelerator=accelerator,
            engine_cache=engine_cache,
            cuda_graphs=cuda_graphs,
            target=serving_version.find(tag or container.TAG, version=tensorrt)
            if engines
            else None,
        ),
        limits=Limits(**{key: value for key, value in limits.items() if value is not None}),
        preprocess=preprocess.value,
        prune=prune,
        keep_tuned=not untuned and instances is None and threads is None,
    )
    if json:
        output.print_json(asdict(done))
        return
    _print_models(done)
    serve = f"tritonclip serve {to}"
    if runtime not in IN_PYTHON:
        on_gpu = engines or not (device == "cpu" or precision is Precision.int8)
        serve += " --container" + (f" --tag {tag}" if tag else "") + " --gpus all" * on_gpu
    if precision is None and "int8" in done.precisions.values():
        output.console().print(
            "encoders in int8, which this CPU is fast at  [dim]exact ones: --precision fp32[/]"
        )
    if runtime == "python" and all(b.precisions_as("openvino") for b in loaded):
        output.console().print(
            "[dim]the OpenVINO models that were built are served with --runtime openvino[/]"
        )
    for missing in done.missing:
        output.console().print(f"[yellow]missing[/]  {missing.file}")
    for command in dict.fromkeys(missing.command for missing in done.missing):
        output.console().print(f"[dim]build it:[/] {command}")
    output.console().print(f"repository [bold]{to}[/]  [dim]next: {serve}[/]")


def _print_models(done: Assembled) -> None:
    from rich.padding import Padding

    console = output.console()
    for label, names in (
        ("[green]written[/]", done.written),
        ("unchanged", done.unchanged),
        ("[red]removed[/]", done.removed),
        ("kept", done.kept),
    ):
        if names:
            console.print(label)
            console.print(Padding("  ".join(names), (0, 0, 0, 2)), soft_wrap=False)
    if done.tuned:
        console.print(f"[dim]as `tune` found best: {', '.join(done.tuned)}; --untuned drops it[/]")
    if done.kept:
        console.print("[dim]kept models belong to bundles not named here; --prune removes them[/]")
