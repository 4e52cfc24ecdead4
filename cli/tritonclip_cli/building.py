"""`build`: from a bundle's FP32 graphs to graphs of lower precision and to engines."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.engine_table import print_outcome
from tritonclip_cli.groups import Group
from tritonclip_cli.options import UTF8, Encoding, Json, release
from tritonclip_cli.values import file, folder

if TYPE_CHECKING:
    from tritonclip_export.tensorrt.engines import Toolchain
    from tritonclip_export.tensorrt.in_container import Image
    from tritonclip_export.tensorrt.options import Options

Precision = Literal["fp16", "bf16", "fp32", "int8"]
Compatibility = Literal["none", "same_compute_capability", "ampere_plus"]


@dataclass(frozen=True)
class Graphs(Group, panel="The graphs"):
    """What the graphs keep in FP32, and what they are measured on."""

    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Keep layers in FP32 whose names match, besides those that must be. Repeatable.",
        ),
    ] = None
    images: Annotated[
        Path | None,
        folder("A folder of your own images to measure on. (default: twelve photographs)"),
    ] = None
    texts: Annotated[
        Path | None, file("A file of your own texts to measure on, one a line. (default: 33)")
    ] = None
    encoding: Encoding = UTF8
    graphs_only: Annotated[
        bool, typer.Option("--graphs-only", help="Write the graphs, compile nothing.")
    ] = False


@dataclass(frozen=True)
class Place(Group, panel="Where engines are compiled (here, unless told otherwise)"):
    """Where engines are compiled, and for which GPUs."""

    openvino: Annotated[
        bool,
        typer.Option(
            "--openvino",
            help="For CPUs, in bf16, int8 or fp32: models that OpenVINO executes, measured on the "
            "CPU of this machine.",
        ),
    ] = False
    container: Annotated[
        bool,
        typer.Option("--container", help="In the image that will serve them, with its TensorRT."),
    ] = False
    tag: Annotated[
        str | None,
        typer.Option(
            callback=release, help="With --container: the release of NVIDIA's image, like 26.07."
        ),
    ] = None
    image: Annotated[str | None, typer.Option(help="With --container: another image.")] = None
    gpus: Annotated[
        str | None,
        typer.Option(help="With --container: device=1, as docker takes it. (default: the first)"),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="With --container: print the docker command, do not run it."
        ),
    ] = False
    aot: Annotated[
        bool,
        typer.Option(
            "--aot",
            help="Ahead of time and without a GPU, with TensorRT-RTX. Such engines are for ONNX "
            "Runtime with TensorRT-RTX: Triton's tensorrt backend takes plans of the full TensorRT "
            "only.",
        ),
    ] = False
    target: Annotated[
        list[str] | None,
        typer.Option(help="With --aot: the GPU architecture, like sm89 for an L4. Repeatable."),
    ] = None

    def check(self, precision: Precision, *, graphs_only: bool) -> None:
        """Refuse what cannot be together."""
        elsewhere = self.aot or self.container
        refusals = (
            (
                not self.container and (self.tag or self.image or self.gpus or self.dry_run),
                "--tag, --image, --gpus and --dry-run go with --container",
            ),
            (
                self.aot != bool(self.target),
                "--aot and --target go together: --aot --target sm89",
            ),
            (
                self.aot and self.container,
                "--aot compiles here, --container in an image: choose one",
            ),
            (
                graphs_only and elsewhere,
                "--graphs-only compiles nothing: leave out --aot and --container",
            ),
            (
                precision == "int8" and elsewhere,
                "int8 graphs are for CPUs: no engine is compiled from them",
            ),
            (
                self.openvino and (elsewhere or graphs_only),
                "--openvino writes models for CPUs: leave out --aot, --container and --graphs-only",
            ),
        )
        for holds, message in refusals:
            if holds:
                raise InvalidArgument(message)

    def compiler(self) -> Toolchain | Image:
        """What compiles there."""
        from tritonclip_export.server import container
        from tritonclip_export.tensorrt import engines
        from tritonclip_export.tensorrt.in_container import Image

        if self.container:
            name = self.image or container.nvidia_image(self.tag or container.TAG)
            return Image(name, self.gpus or "all")
        return engines.ahead_of_time(self.target) if self.target else engines.for_this_gpu()


@dataclass(frozen=True)
class Engines(Group, panel="The engines"):
    """How engines are compiled."""

    max_batch: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="The largest batch. (default: as exported)"),
    ] = None
    opt_batch: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="The batch that kernels are tuned for. (default: 16)"),
    ] = None
    optimization_level: Annotated[int, typer.Option(min=0, max=5, help="More searches longer.")] = 3
    workspace: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            min=1,
            max=2**20,
            help="Scratch memory that a kernel may use. (default: any)",
        ),
    ] = None
    hardware_compatibility: Annotated[
        Compatibility, typer.Option(help="Run on more kinds of GPU, somewhat slower.")
    ] = "none"
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Run under later TensorRT, with code in the engine that a server must allow.",
        ),
    ] = False
    refittable: Annotated[
        bool, typer.Option("--refittable", help="Let weights be replaced later.")
    ] = False
    force: Annotated[
        bool, typer.Option("--force", help="Compile again though nothing changed.")
    ] = False

    def options(self) -> Options:
        """The same for the compiler."""
        from tritonclip_export.tensorrt.options import Options

        return Options(
            max_batch=self.max_batch,
            opt_batch=self.opt_batch,
            optimization_level=self.optimization_level,
            workspace_bytes=self.workspace and self.workspace * 2**20,
            hardware_compatibility=self.hardware_compatibility,
            version_compatible=self.version_compatible,
            refittable=self.refittable,
        )


def build(
    bundle: Annotated[Path, typer.Argument(help="A folder that `export` wrote.")],
    *,
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16, bf16, fp32: for GPUs. int8: for CPUs, graphs only. bf16, int8, fp32: for "
            "CPUs, with --openvino."
        ),
    ] = "fp16",
    graphs: Graphs,
    place: Place,
    engines: Engines,
    json: Json = False,
) -> None:
    """Write a bundle's graphs at a precision, and compile them: for TensorRT, or for OpenVINO."""
    from tritonclip_export import precision as onnx_graphs
    from tritonclip_export.bundle import TOWERS, Bundle
    from tritonclip_export.openvino import artifacts as openvino_models
    from tritonclip_export.parity.inputs import Inputs
    from tritonclip_export.tensorrt.in_container import Image

    place.check(precision, graphs_only=graphs.graphs_only)
    exported, inputs = Bundle.load(bundle), Inputs.of(graphs.images, graphs.texts, graphs.encoding)
    write = openvino_models.write if place.openvino else onnx_graphs.write
    compiles = not (place.openvino or graphs.graphs_only or precision == "int8")
    with output.Steps() as step:
        # Before the graphs are written: without a compiler, that is minutes for nothing.
        compiler = place.compiler() if compiles else None
        written = write(
            exported, precision, inputs=inputs, keep_fp32=graphs.keep_fp32 or (), progress=step
        )
        if isinstance(compiler, Image) and place.dry_run:
            print(shlex.join(compiler.command(written, precision, engines.options())))
            return
        outcome = None
        if compiler:
            outcome = compiler.build(
                written,
                precision,
                engines.options(),
                force=engines.force,
                progress=step,
                detail=step.detail,
            )
    form = "openvino" if place.openvino else "onnx"
    graphs_of = tuple(written.artifact(tower, form, precision) for tower in TOWERS)
    print_outcome(bundle, graphs_of, outcome, json=json)
