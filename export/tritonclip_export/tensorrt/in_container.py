"""Engines built inside the serving image, by the very libraries that will serve them.

One `docker run` compiles with the image's `trtexec` into a hidden folder of the bundle; this
machine then reads what it left and records the engines. Whoever printed the command and ran it by
hand gets them recorded by building again: finished results are picked up, not repeated.

Docker, the image and trtexec have not been run by this project: tests put stand-ins in their place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.bundle import Artifact, Bundle, Engine, Precision
from tritonclip_export.errors import EngineError
from tritonclip_export.machine import gpus
from tritonclip_export.server import container
from tritonclip_export.server.container import ContainerError
from tritonclip_export.tensorrt import bindings, library, trtexec
from tritonclip_export.tensorrt.build_log import explain
from tritonclip_export.tensorrt.builder import Detail, cache_folder
from tritonclip_export.tensorrt.capabilities import sm
from tritonclip_export.tensorrt.engines import (
    FOLDER,
    Job,
    Outcome,
    finished,
    for_capability,
    jobs,
    keep,
)
from tritonclip_export.tensorrt.options import Options

SCRIPT = Path(__file__).with_name("build_engines.sh")
_RESULTS = f"{FOLDER}/.container"


@dataclass(frozen=True)
class Image:
    """A container image that compiles by the TensorRT in it.

    Attributes:
        name: of the image that will serve.
        gpus: for Docker's `--gpus`; the first GPU of it is compiled for.
    """

    name: str
    gpus: str = "all"

    def build(
        self,
        bundle: Bundle,
        precision: Precision,
        options: Options = Options(),  # noqa: B008 (immutable)
        *,
        force: bool = False,
        progress: Callable[[str], None] = lambda _: None,
        detail: Detail = lambda _: None,
    ) -> Outcome:
        """Compile both towers in the image for the GPU here, where that is not done yet.

        Args:
            bundle: a bundle that has the graphs at `precision`.
            precision: that of the graphs.
            options: how to compile.
            force: compile again what is already there.
            progress: told of each step as it begins.
            detail: told nothing: what goes on in the image is not seen from here.

        Raises:
            BundleError: the bundle has no graphs at that precision, or they are damaged.
            ContainerError: there is no Docker, or it cannot start the image.
            EngineError: there is no GPU, or an engine cannot be built; what it would have replaced
                is kept.
        """
        del detail
        wanted = self._jobs(bundle, precision, options)
        unchanged = []
        to_run = [job for job in wanted if force or not _is_built(bundle, job)]
        if to_run:
            capability = _capability(self.gpus)
            for job in list(to_run):
                found = finished(bundle, for_capability(job, capability))
                if found and not force:
                    unchanged.append(found)
                    to_run.remove(job)
                    wanted.remove(job)
        if to_run:
            progress(f"compiling {precision} for {sm(capability)} in {self.name}")
            _run(bundle, to_run, self._command(bundle, to_run, options))
        built = []
        for job in wanted:
            bundle, artifact = _collect(bundle, job, options, self.name)
            built.append(artifact)
        shutil.rmtree(bundle.file(_RESULTS), ignore_errors=True)
        return Outcome(bundle, tuple(built), tuple(unchanged))

    def command(self, bundle: Bundle, precision: Precision, options: Options) -> list[str]:
        """The command that compiles both towers into the bundle, for `build` to pick up.

        Raises:
            BundleError: the bundle has no graphs at that precision, or they are damaged.
            EngineError: int8, or batch sizes that do not fit.
        """
        return self._command(bundle, self._jobs(bundle, precision, options), options)

    def _jobs(self, bundle: Bundle, precision: Precision, options: Options) -> list[Job]:
        return jobs(bundle, precision, options, f"image {self.name}")

    def _command(self, bundle: Bundle, wanted: Sequence[Job], options: Options) -> list[str]:
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        return container.docker_command(
            self.name,
            ["/build_engines.sh", "/cache", *(_job_words(job, options) for job in wanted)],
            gpus=self.gpus,
            mounts=[
                container.Mount(bundle.path, "/bundle", readonly=False),
                container.Mount(cache, "/cache", readonly=False),
                container.Mount(SCRIPT, "/build_engines.sh"),
            ],
            options=[
                # So that what it writes belongs to whoever asked for it.
                f"--user={os.getuid()}:{os.getgid()}",
                "--env=HOME=/tmp",
                "--env=CUDA_DEVICE_ORDER=PCI_BUS_ID",  # that of nvidia-smi
                "--workdir=/bundle",
                "--entrypoint=/bin/bash",
            ],
        )


def _job_words(job: Job, options: Options) -> str:
    return " ".join([f"{_RESULTS}/{_name(job)}", *trtexec.flags(job, options)])


def _result(bundle: Bundle, job: Job) -> Path:
    return bundle.file(_RESULTS) / _name(job)


def _name(job: Job) -> str:
    return f"{job.graph.tower}-{job.recipe[:16]}"


def _is_built(bundle: Bundle, job: Job) -> bool:
    return _result(bundle, job).with_suffix(".plan").is_file()


def _capability(device: str) -> str:
    """The compute capability of the first GPU that `--gpus DEVICE` gives a container."""
    named = re.search(r"device=([^,\"]+)", device)
    try:
        return gpus.listed(named[1] if named else None)[0].compute_capability
    except EngineError as error:
        raise EngineError(
            f"TensorRT compiles on a GPU like the one that will serve, and here is none: {error}. "
            "--dry-run prints the command for a machine that has one"
        ) from error


def _run(bundle: Bundle, wanted: Sequence[Job], command: Sequence[str]) -> None:
    try:
        container.run(command, stdout=subprocess.DEVNULL)
    except ContainerError as error:
        for job in wanted:
            log = _result(bundle, job).with_suffix(".log")
            if log.is_file() and not _is_built(bundle, job):
                reason = explain(log.read_text(encoding="utf-8", errors="replace").splitlines())
                raise EngineError(
                    f"{job.graph.file} cannot be compiled: {reason}. The whole log: {log}"
                ) from error
        raise
    if not all(_is_built(bundle, job) for job in wanted):
        raise KeyboardInterrupt  # which docker has seen, and ended


def _collect(bundle: Bundle, job: Job, options: Options, image: str) -> tuple[Bundle, Artifact]:
    """Record what the container built."""
    result = _result(bundle, job)
    report = trtexec.read_report(result)
    library.check_version(report.version)
    # A strongly typed engine keeps the types of its graph; that it is this graph's, its names tell.
    tensors = bindings.of_graph(bundle.file(job.graph.file))
    if report.names != {tensor.name for tensor in tensors}:
        raise EngineError(f"{result}.plan has other tensors than {job.graph.file}: {report.names}")
    plan = result.with_suffix(".plan")
    engine = Engine(
        graph_sha256=job.graph.sha256,
        version=report.version,
        compute_capability=report.compute_capability,
        **options.of_engine,
        bindings=tensors,
        profiles=job.profiles,
        layers=round(report.layers / len(job.profiles)),
        device_memory_bytes=report.device_memory_bytes,
        build_seconds=report.seconds,
        size_bytes=plan.stat().st_size,
        image=image,
    )
    job = for_capability(job, report.compute_capability)
    return keep(bundle, job, engine, plan, "tensorrt", {"tensorrt": report.version})
