"""`assemble`: from bundles to a repository for one runtime."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Json, release
from tritonclip_cli.values import check, file, folder, new_folder
from tritonclip_export.repository.runtimes import IN_PYTHON, Accelerator, Device, Runtime

if TYPE_CHECKING:
    from tritonclip_export.repository.assemble import Assembled
    from tritonclip_export.repository.execution import Execution
    from tritonclip_export.repository.heads import ServedHead
    from tritonclip_export.served.parameters import Limits
    from tritonclip_export.tensorrt.serving_version import Target

Precision = Literal["fp32", "fp16", "bf16", "int8"]


def _numbers_of_gpus(listed: str) -> tuple[int, ...]:
    """The GPUs of `0,1`; none for `all`."""
    if listed == "all":
        return ()
    numbers = listed.split(",")
    if not all(re.fullmatch(r"\d{1,3}", number, re.ASCII) for number in numbers):
        raise InvalidArgument(f"expected all or numbers like 0,1, not {listed!r}")
    if len(set(map(int, numbers))) < len(numbers):
        raise InvalidArgument(f"{listed!r} names a GPU twice; --instances puts several on each")
    return tuple(map(int, numbers))


@dataclass(frozen=True)
class Encoders(Group):
    """What the encoders compute in, and how many of them there are."""

    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of the encoders. (default: fp16 for GPUs, int8 for CPUs made for it, where the "
            "bundle has them; else fp32. openvino: int8, else bf16, else fp32)"
        ),
    ] = None
    gpus: Annotated[
        str | None,
        typer.Option(
            callback=check(_numbers_of_gpus),
            help="all, or numbers like 0,1: those that encoders are spread over. (default: python "
            "takes the first, other runtimes all)",
        ),
    ] = None
    instances: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Of each encoder, on each GPU or on the CPU. (default: 1)"
        ),
    ] = None


@dataclass(frozen=True)
class Images(Group):
    """How images become pixels, and what one image or one text of a request may be."""

    preprocess: Annotated[
        Literal["exact", "draft", "dali"],
        typer.Option(
            help="exact: the checkpoint's own pixels. draft: large JPEGs in a fraction of the "
            "time. dali: JPEGs on the GPU."
        ),
    ] = "exact"
    orient: Annotated[
        bool,
        typer.Option("--orient", help="Turn images by their EXIF orientation, as viewers do."),
    ] = False
    max_image_bytes: Annotated[int | None, typer.Option(min=1, help="Limit for one image.")] = None
    max_image_pixels: Annotated[int | None, typer.Option(min=1, help="Limit for one image.")] = None
    max_text_bytes: Annotated[int | None, typer.Option(min=1, help="Limit for one text.")] = None

    def limits(self) -> Limits:
        """The limits that were given; the usual ones where none was."""
        from tritonclip_export.served.parameters import Limits

        given = {
            "max_image_bytes": self.max_image_bytes,
            "max_image_pixels": self.max_image_pixels,
            "max_text_bytes": self.max_text_bytes,
        }
        return Limits(**{name: limit for name, limit in given.items() if limit is not None})


@dataclass(frozen=True)
class Existing(Group):
    """What becomes of what the folder holds already."""

    untuned: Annotated[
        bool,
        typer.Option(
            "--untuned", help="Drop what `tune` found, as --instances and --threads do, too."
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Drop what somebody has changed in the configs by hand."),
    ] = False
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove models of bundles that are not named.")
    ] = False


@dataclass(frozen=True)
class Engines(Group, panel="Runtime tensorrt"):
    """How engines are executed, and by which TensorRT."""

    tag: Annotated[
        str | None,
        typer.Option(
            callback=release, help="Release of the container that will serve, like 26.07."
        ),
    ] = None
    tensorrt: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The TensorRT in it. (default: read from its image, or from a table)",
        ),
    ] = None
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            help="Record launches of kernels and replay them: faster, for some GPU memory."
        ),
    ] = True

    def target(self, runtime: Runtime) -> Target | None:
        """The TensorRT that loads the engines; None for a runtime that has none."""
        from tritonclip_export.server import container
        from tritonclip_export.tensorrt import serving_version

        if runtime == "tensorrt":
            return serving_version.find(self.tag or container.TAG, version=self.tensorrt)
        if self.tag or self.tensorrt:
            raise InvalidArgument("--tag and --tensorrt go with --runtime tensorrt")
        return None


@dataclass(frozen=True)
class Graphs(Group, panel="Runtimes python, onnxruntime and openvino"):
    """Where graphs are executed, and by what."""

    device: Annotated[Device | None, typer.Option(help="(default: a GPU where there is one)")] = (
        None
    )
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of one instance on the CPU. (default: one a core)"),
    ] = None
    accelerator: Annotated[
        Accelerator,
        typer.Option(help="onnxruntime on a GPU. tensorrt builds engines while the server starts."),
    ] = "cuda"
    engine_cache: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="On the server, writable: keeps what --accelerator tensorrt built.",
        ),
    ] = None


def assemble(
    bundles: Annotated[list[Path], typer.Argument(help="Folders that `export` wrote.")],
    *,
    to: Annotated[
        Path, new_folder("The repository's folder; may be in use.", "--output", "-o")
    ] = Path("repository"),
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="python: any machine. openvino: CPUs, from what `build --openvino` wrote. "
            "onnxruntime, tensorrt: NVIDIA's container."
        ),
    ] = "python",
    encoders: Encoders,
    images: Images,
    overlays: Annotated[
        Path | None,
        folder("What shall be different in the configs: files MODEL.pbtxt, merged into them."),
    ] = None,
    head: Annotated[
        list[Path] | None,
        file("A head, .safetensors, whose scores are served, too; repeatable."),
    ] = None,
    existing: Existing,
    engines: Engines,
    graphs: Graphs,
    json: Json = False,
) -> None:
    """Assemble bundles into one Triton model repository."""
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.repository.assemble import assemble

    execution = _execution(runtime, encoders, engines, graphs)
    loaded = [Bundle.load(path) for path in bundles]
    given = encoders.instances is not None or graphs.threads is not None
    done = assemble(
        loaded,
        to,
        runtime=runtime,
        execution=execution,
        limits=images.limits(),
        preprocess=images.preprocess,
        orient=images.orient,
        prune=existing.prune,
        keep_tuned=not (existing.untuned or given),
        overlays=overlays,
        overwrite=existing.overwrite,
        heads=[_served(one) for one in head or ()],
    )
    if json:
        output.print_json(asdict(done))
        return
    _print_models(done)
    if encoders.precision is None and "int8" in done.precisions.values():
        output.console().print(
            "encoders in int8, which this CPU is fast at  [dim]exact ones: --precision fp32[/]"
        )
    if runtime == "python" and all(bundle.precisions_as("openvino") for bundle in loaded):
        output.console().print(
            "[dim]the OpenVINO models that were built are served with --runtime openvino[/]"
        )
    _print_missing(done)
    serve = _serve(to, runtime, execution, engines.tag)
    output.console().print(f"repository [bold]{to}[/]  [dim]next: {serve}[/]")


def _served(path: Path) -> ServedHead:
    """A head of any layout, as the server takes it."""
    from tritonclip_export.repository.heads import ServedHead
    from tritonclip_search.heads.file import load, to_bytes

    head = load(path)
    alone = len(head.labels) == 1
    scores = (path.stem,) if alone else tuple(f"{path.stem}/{label}" for label in head.labels)
    weights = head.card.get("weights_sha256")
    return ServedHead(path.stem, scores, head.dim, weights, to_bytes(head))


def _execution(runtime: Runtime, encoders: Encoders, engines: Engines, graphs: Graphs) -> Execution:
    from tritonclip_export.repository.execution import Execution

    return Execution(
        precision=encoders.precision,
        device=graphs.device,
        gpus=None if encoders.gpus is None else _numbers_of_gpus(encoders.gpus),
        instances=encoders.instances or 1,
        threads=graphs.threads,
        accelerator=graphs.accelerator,
        engine_cache=graphs.engine_cache,
        cuda_graphs=engines.cuda_graphs,
        target=engines.target(runtime),
    )


def _serve(repository: Path, runtime: Runtime, execution: Execution, tag: str | None) -> str:
    """The command that serves what was assembled."""
    command = shlex.join(["tritonclip", "serve", str(repository)])
    if runtime in IN_PYTHON:
        return command
    on_cpu = execution.where == "cpu" or execution.precision == "int8"
    release = f" --tag {tag}" if tag else ""
    return f"{command} --container{release}{'' if on_cpu else ' --gpus all'}"


def _print_missing(done: Assembled) -> None:
    for missing in done.missing:
        output.console().print(f"[yellow]missing[/]  {missing.file}")
    for command in dict.fromkeys(missing.command for missing in done.missing):
        output.console().print(f"[dim]build it:[/] {command}")


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
    if done.overlaid:
        console.print(f"[dim]with overlays: {', '.join(done.overlaid)}[/]")
    if done.kept:
        console.print("[dim]kept models belong to bundles not named here; --prune removes them[/]")
