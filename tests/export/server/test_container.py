import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tritonclip_export.server import container
from tritonclip_export.server.container import ContainerError, docker_build, docker_run
from tritonclip_export.server.ports import Ports

ROOT = Path(__file__).parents[3]


def test_the_default_command_serves_on_the_loopback_interface_without_a_gpu() -> None:
    assert docker_run(Path("/srv/models")) == [
        "docker",
        "run",
        "--rm",
        "--shm-size=1g",
        "--publish=127.0.0.1:8000:8000",
        "--publish=127.0.0.1:8001:8001",
        "--publish=127.0.0.1:8002:8002",
        "--mount=type=bind,source=/srv/models,target=/models,readonly",
        "tritonclip-server:26.07",
        "tritonserver",
        "--model-repository=/models",
        "--model-control-mode=none",
        "--cache-config=local,size=67108864",
    ]


def test_every_choice_reaches_the_command() -> None:
    command = docker_run(
        Path("/srv/models"),
        image="nvcr.io/nvidia/tritonserver:26.02-py3",
        gpus="device=1",
        host="0.0.0.0",
        ports=Ports(http=9000, grpc=0),
        shm_size="4g",
        control="explicit",
        load=["b32_image", "b32_text"],
        cache_bytes=0,
        extra_args=["--log-verbose=1"],
    )

    assert command[3:9] == [
        "--gpus",
        "device=1",
        "--shm-size=4g",
        "--publish=0.0.0.0:9000:8000",
        "--publish=0.0.0.0::8001",
        "--publish=0.0.0.0:8002:8002",
    ]
    assert command[10:] == [
        "nvcr.io/nvidia/tritonserver:26.02-py3",
        "tritonserver",
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--load-model=b32_image",
        "--load-model=b32_text",
        "--log-verbose=1",
    ]


def test_a_relative_repository_is_mounted_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    command = docker_run(Path("my models"))

    mount = f"--mount=type=bind,source={tmp_path}/my models,target=/models,readonly"
    assert mount in command
    assert mount in shlex.split(shlex.join(command))


def test_the_dockerfile_builds_the_image_that_is_run() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert f"ARG TAG={container.TAG}\n" in dockerfile
    assert docker_build()[-3:] == ["--tag", "tritonclip-server:26.07", "."]
    for line in dockerfile.splitlines():
        if line.startswith("COPY"):
            assert (ROOT / line.split()[1]).exists()


def test_without_docker_the_error_shows_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    command = docker_run(Path("/srv/my models"))

    with pytest.raises(ContainerError, match="no docker here") as caught:
        container.run(command)

    assert shlex.split(caught.value.command) == command
    assert caught.value.command in str(caught.value)


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker's client")
def test_without_a_daemon_the_error_shows_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    command = docker_run(Path("/srv/models"))

    with pytest.raises(ContainerError, match="does not answer") as caught:
        container.run(command)

    assert shlex.split(caught.value.command) == command
