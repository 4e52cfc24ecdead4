"""Docker: serving a model repository in a container, and what else runs in the serving image.

`docker_run` and `docker_command` only make the command, so it can be printed, copied and tested
without Docker.
"""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclip.errors import TritonClipError
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import CACHE_BYTES, Control, cache_arguments, control_arguments

# The newest release whose TensorRT (11.1.0.106) is confirmed. An engine runs only under the
# TensorRT that built it, so a fixed tag beats "latest". The Dockerfile has the same default.
TAG = "26.07"

_REPOSITORY = "/models"


class ContainerError(TritonClipError):
    """The container cannot be started, or ended with an error.

    Attributes:
        command: the command, quoted for a shell, to run where there is a Docker.
    """

    def __init__(self, problem: str, command: Sequence[str]) -> None:
        self.command = shlex.join(command)
        super().__init__(f"{problem}\nThe command was:\n  {self.command}")


def image_name(tag: str = TAG) -> str:
    """The image that the Dockerfile of this project builds.

    NVIDIA's own image has no Pillow and no tokenizers, which the models that take images and texts
    import; it does for repositories of encoders alone.
    """
    return f"tritonclip-server:{tag}"


def nvidia_image(tag: str = TAG) -> str:
    """NVIDIA's own image of that release, which `image_name(tag)` is built on."""
    return f"nvcr.io/nvidia/tritonserver:{tag}-py3"


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine in the container."""

    source: Path
    target: str
    readonly: bool = True

    @property
    def argument(self) -> str:
        """For `docker run`; unlike --volume, --mount fails on a missing source."""
        words = f"--mount=type=bind,source={self.source.absolute()},target={self.target}"
        return words + (",readonly" if self.readonly else "")


def docker_command(
    image: str,
    command: Sequence[str],
    *,
    gpus: str | None = None,
    mounts: Sequence[Mount] = (),
    options: Sequence[str] = (),
) -> list[str]:
    """The command that runs `command` in `image` in the foreground and removes the container.

    Args:
        image: the container image.
        command: what to run there.
        gpus: for Docker's `--gpus`: `all`, a number, or `device=0`; None for the CPU alone.
        mounts: what of this machine it sees.
        options: further options of `docker run`.
    """
    return [
        *("docker", "run", "--rm"),
        *(("--gpus", gpus) if gpus else ()),
        *options,
        *(mount.argument for mount in mounts),
        image,
        *command,
    ]


def docker_build(tag: str = TAG) -> list[str]:
    """The command that builds `image_name(tag)` in a checkout of this project."""
    return ["docker", "build", "--build-arg", f"TAG={tag}", "--tag", image_name(tag), "."]


def docker_run(
    repository: Path,
    *,
    image: str = image_name(),
    gpus: str | None = None,
    host: str = "127.0.0.1",
    ports: Ports = Ports(),  # noqa: B008 (immutable)
    shm_size: str = "1g",
    control: Control = "none",
    poll_seconds: int = 5,
    load: Sequence[str] = (),
    cache_bytes: int = CACHE_BYTES,
    extra_args: Sequence[str] = (),
) -> list[str]:
    """The command that serves `repository` in the foreground.

    Args:
        repository: the model repository, mounted read-only.
        image: the container image.
        gpus: for Docker's `--gpus`: `all`, a number, or `device=0`; None for the CPU alone.
        host: the address of this machine on which the ports appear.
        ports: the ports there: None for Triton's usual ones, 0 for one of Docker's choice.
        shm_size: size of /dev/shm, through which the Python models pass their tensors; Docker's own
            64 MB are too small for a batch of images.
        control: as for `Server`.
        poll_seconds: as for `Server`.
        load: as for `Server`.
        cache_bytes: as for `Server`.
        extra_args: further arguments of tritonserver.
    """
    published = (ports.http, 8000), (ports.grpc, 8001), (ports.metrics, 8002)
    return docker_command(
        image,
        [
            "tritonserver",
            f"--model-repository={_REPOSITORY}",
            *control_arguments(control, poll_seconds, load),
            *cache_arguments(cache_bytes, control),
            *extra_args,
        ],
        gpus=gpus,
        mounts=[Mount(repository, _REPOSITORY)],
        options=[
            f"--shm-size={shm_size}",
            *(
                f"--publish={host}:{usual if port is None else port or ''}:{usual}"
                for port, usual in published
            ),
        ],
    )


def run(command: Sequence[str], *, stdout: int | None = None) -> None:
    """Run a command of this module until it ends; Ctrl-C stops the container.

    Args:
        command: the command.
        stdout: where its output goes, as `subprocess.Popen` takes it.

    Raises:
        ContainerError: there is no Docker, its daemon does not answer, or the command failed.
    """
    check_docker(command)
    process = subprocess.Popen(command, stdout=stdout)
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            continue  # the terminal has told docker too, which hands it on to the server and waits
    if status == 125:
        raise ContainerError(
            f"docker could not start the container; its reason is above. If it has no image: "
            f"`{shlex.join(docker_build())}` in a checkout of this project builds it.",
            command,
        )
    if status not in (0, 130):
        raise ContainerError(f"docker ended with exit status {status}.", command)


def check_docker(command: Sequence[str]) -> str:
    """The version of the Docker daemon that would run `command`.

    Raises:
        ContainerError: there is none.
    """
    if shutil.which("docker") is None:
        raise ContainerError(
            "There is no docker here: https://docs.docker.com/engine/install/", command
        )
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        raise ContainerError(f"docker does not answer: {asked.stderr.strip()}", command)
    return asked.stdout.strip()
