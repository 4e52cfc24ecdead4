"""`build`: from a bundle's FP32 graphs to graphs of lower precision and to engines."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tritonclip_cli.engine_table import Steps, print_outcome
from tritonclip_cli.output import Json


class Precision(str, Enum):
    """What the encoders compute in, where nothing speaks against it."""

    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"
    int8 = "int8"


class Compatibility(str, Enum):
    """On which GPUs an engine runs besides those like the one it was built on."""

    none = "none"
    same_compute_capability = "same_compute_capability"
    ampere_plus = "ampere_plus"


_GRAPHS = "The graphs"
_WHERE = "Where engines are compiled (here, unless told otherwise)"
_ENGINES = "The engines"


def build(
    bundle: Annotated[Path, typer.Argument(help="A folder that `export` wrote.")],
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16, bf16, fp32: for GPUs. int8: for CPUs, graphs only. bf16, int8, fp32: for "
            "CPUs, with --openvino."
        ),
    ] = Precision.fp16,
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Keep layers in FP32 whose names match, besides those that must be. Repeatable.",
            rich_help_panel=_GRAPHS,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of your own images to measure on. (default: twelve photographs)",
            rich_help_panel=_GRAPHS,
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of your own texts to measure on, one a line. (default: 33)",
            rich_help_panel=_GRAPHS,
        ),
    ] = None,
    graphs_only: Annotated[
        bool,
        typer.Option(
            "--graphs-only", help="Write the graphs, compile nothing.", rich_help_panel=_GRAPHS
        ),
    ] = False,
    openvino: Annotated[
        bool,
        typer.Option(
            "--openvino",
            help="For CPUs, in bf16, int8 or fp32: models that OpenVINO executes, measured on the "
            "CPU of this machine.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    container: Annotated[
        bool,
        typer.Option(
            "--container",
            help="In the image that will serve them, with its TensorRT.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    tag: Annotated[
        str | None,
        typer.Option(
            help="With --container: the release of NVIDIA's image, like 26.07.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="With --container: another image.", rich_help_panel=_WHERE),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="With --container: device=1, as docker takes it. (default: the first)",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="With --container: print the docker command, do not run it.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    aot: Annotated[
        bool,
        typer.Option(
            "--aot",
            help="Ahead of time and without a GPU, with TensorRT-RTX. Such engines are for ONNX "
            "Runtime with TensorRT-RTX: Triton's tensorrt backend takes plans of the full TensorRT "
            "only.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="With --aot: the GPU architecture, like sm89 for an L4. Repeatable.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="The largest batch. (default: as exported)", rich_help_panel=_ENGINES
        ),
    ] = None,
    opt_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The batch that kernels are tuned for. (default: 16)",
            rich_help_panel=_ENGINES,
        ),
    ] = None,
    optimization_level: Annotated[
        int,
        typer.Option(min=0, max=5, help="More searches longer.", rich_help_panel=_ENGINES),
    ] = 3,
    workspace: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            min=1,
            help="Scratch memory that a kernel may use. (default: any)",
            rich_help_panel=_ENGINES,
        ),
    ] = None,
    hardware_compatibility: Annotated[
        Compatibility,
        typer.Option(help="Run on more kinds of GPU, somewhat slower.", rich_help_panel=_ENGINES),
    ] = Compatibility.none,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Run under later TensorRT, with code in the engine that a server must allow.",
            rich_help_panel=_ENGINES,
        ),
    ] = False,
    refittable: Annotated[
        bool,
        typer.Option(
            "--refittable", help="Let weights be replaced later.", rich_help_panel=_ENGINES
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Compile again though nothing changed.", rich_help_panel=_ENGINES
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Write a bundle's graphs at a precision, and compile them: for TensorRT, or for OpenVINO."""
    from tritonclip.errors import InvalidArgument
    from tritonclip_export import precision as precisions
    from tritonclip_export import samples
    from tritonclip_export.bundle import TOWERS, Bundle
    from tritonclip_export.openvino import artifacts as openvino_models
    from tritonclip_export.parity.inputs import Inputs
    from tritonclip_export.server import container as docker
    from tritonclip_export.tensorrt import engines
    from tritonclip_export.tensorrt.in_container import Image
    from tritonclip_export.tensorrt.options import Options

    if not container and (tag or image or gpus or dry_run):
        raise InvalidArgument("--tag, --image, --gpus and --dry-run go with --container")
    if aot != bool(target):
        raise InvalidArgument("--aot and --target go together: --aot --target sm89")
    if aot and container:
        raise InvalidArgument("--aot compiles here, --container in an image: choose one")
    if graphs_only and (aot or container):
        raise InvalidArgument("--graphs-only compiles nothing: leave out --aot and --container")
    if precision is Precision.int8 and (aot or container):
        raise InvalidArgument("int8 graphs are for CPUs: no engine is compiled from them")
    if openvino and (aot or container or graphs_only):
        raise InvalidArgument(
            "--openvino writes models for CPUs: leave out --aot, --container and --graphs-only"
        )
    options = Options(
        max_batch=max_batch,
        opt_batch=opt_batch,
        optimization_level=optimization_level,
        workspace_bytes=None if workspace is None else workspace * 2**20,
        hardware_compatibility=hardware_compatibility.value,
        version_compatible=version_compatible,
        refittable=refittable,
    )
    loaded = Bundle.load(bundle)
    inputs = Inputs.read(
        samples.images_in(images) if images else samples.sample_images(),
        samples.texts_in(texts) if texts else samples.sample_texts(),
    )
    write = openvino_models.write if openvino else precisions.write
    outcome = None
    step = Steps()
    with step:
        compiler: engines.Toolchain | Image | None = None
        if container:
            compiler = Image(image or docker.nvidia_image(tag or docker.TAG), gpus or "all")
        elif target:
            compiler = engines.ahead_of_time(target)
        elif not (openvino or graphs_only or precision is Precision.int8):
            compiler = engines.for_this_gpu()
        loaded = write(
            loaded,
            precision.value,
            inputs=inputs,
            keep_fp32=tuple(keep_fp32 or ()),
            progress=step,
        )
        if isinstance(compiler, Image) and dry_run:
            print(shlex.join(compiler.command(loaded, precision.value, options)))
            return
        if compiler:
            outcome = compiler.build(
                loaded,
                precision.value,
                options,
                force=force,
                progress=step,
                detail=step.detail,
            )
    form = "openvino" if openvino else "onnx"
    graphs = tuple(loaded.artifact(tower, form, precision.value) for tower in TOWERS)
    print_outcome(bundle, graphs, outcome, json=json)
