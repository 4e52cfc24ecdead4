"""A real tritonserver, from PyPI, serving stub models; see `stub/model.py`."""

import io
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tritonclip.info import ModelConfig, ModelInfo, parse_info

PARAMETERS = {
    "source": "ViT-B-32:test",
    "dim": "4",
    "similarity": "softmax",
    "logit_scale": "10.0",
    "logit_bias": "0.0",
    "image_height": "224",
    "image_width": "224",
    "context_length": "77",
    "precision": "fp32",
    "runtime": "python",
    "preprocess": "exact",
    "weights_sha256": "ab" * 32,
    "max_image_bytes": "1000000",
    "max_image_pixels": "50000000",
}
BATCH = 8


def write_bundle(repository: Path, name: str, changes: dict[str, str], instances: int) -> None:
    """The two ensembles of one bundle, each over a stub in the Python backend."""
    facts = {**PARAMETERS, "name": name, **changes}
    shown = "".join(
        f'parameters {{ key: "tritonclip_{k}" value {{ string_value: "{v}" }} }}\n'
        for k, v in facts.items()
    )
    for half in ("image", "text"):
        tensors = (
            f"max_batch_size: {BATCH}\n"
            f'input [ {{ name: "{half.upper()}" data_type: TYPE_STRING dims: [ 1 ] }} ]\n'
            'output [ { name: "EMBEDDING" data_type: TYPE_FP32 dims: [ -1 ] } ]\n'
        )
        step = (
            f'model_name: "{name}_{half}_stub" model_version: -1 '
            f'input_map {{ key: "{half.upper()}" value: "{half.upper()}" }} '
            'output_map { key: "EMBEDDING" value: "EMBEDDING" }'
        )
        ensemble, stub = repository / f"{name}_{half}", repository / f"{name}_{half}_stub"
        (ensemble / "1").mkdir(parents=True)
        (ensemble / "config.pbtxt").write_text(
            f'platform: "ensemble"\n{tensors}'
            f"ensemble_scheduling {{ step [ {{ {step} }} ] }}\n{shown}"
        )
        (stub / "1").mkdir(parents=True)
        (stub / "config.pbtxt").write_text(
            f'backend: "python"\n{tensors}'
            f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]\n"
        )
        shutil.copy(Path(__file__).parent / "stub" / "model.py", stub / "1")


class Server:
    """One tritonserver on loopback."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.http_port, self.grpc_port = free_port(), free_port()
        self.grpc = f"127.0.0.1:{self.grpc_port}"
        self.http = f"http://127.0.0.1:{self.http_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, protocol: str) -> str:
        return self.http if protocol == "http" else f"grpc://{self.grpc}"

    def start(self) -> None:
        site = Path(sysconfig.get_path("purelib"))
        triton = site / "pytriton" / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        backend = self.folder / "backends" / "python"
        backend.mkdir(parents=True, exist_ok=True)
        stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
        for file in (*(triton / "backends" / "python").iterdir(), stub):
            if not (backend / file.name).exists():
                (backend / file.name).symlink_to(file)
        libraries = f"{site / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        bin = Path(sys.executable).parent
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    triton / "bin" / "tritonserver",
                    f"--model-repository={self.repository}",
                    f"--backend-directory={backend.parent}",
                    f"--http-port={self.http_port}",
                    f"--grpc-port={self.grpc_port}",
                    "--http-address=127.0.0.1",
                    "--grpc-address=127.0.0.1",
                    "--allow-metrics=false",
                    "--exit-on-error=false",  # one test is about a model that does not load
                    "--exit-timeout-secs=1",
                    "--disable-auto-complete-config",  # which starts every stub twice
                ],
                # The backend's interpreter finds its packages beside the first python3 on PATH.
                env={
                    **os.environ,
                    "LD_LIBRARY_PATH": libraries,
                    "PATH": f"{bin}:{os.environ['PATH']}",
                },
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"tritonserver: {(self.folder / 'log.txt').read_text()[-3000:]}")
            time.sleep(0.05)

    def ensure(self) -> None:
        """Start it again if it has died."""
        if not self._answers():
            self.stop()
            self.start()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            # It listens only once every model has loaded or failed to.
            with urllib.request.urlopen(f"{self.http}/v2/health/live", timeout=1) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def serve(tmp_path_factory: pytest.TempPathFactory, **bundles: dict[str, str]) -> Server:
    folder = tmp_path_factory.mktemp("server")
    for name, changes in bundles.items():
        instances = 2 if len(bundles) == 1 else 1
        write_bundle(folder / "models", name, changes, instances)
    return Server(folder / "models", folder)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one bundle, `demo`."""
    server = serve(tmp_path_factory, demo={})
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def server_runs(request: pytest.FixtureRequest) -> None:
    """Begin with a server that runs.

    Triton 2.51 ends with a segmentation fault now and then when a client goes away.
    """
    for name in {"server", "crowded_server"}.intersection(request.fixturenames):
        request.getfixturevalue(name).ensure()


@pytest.fixture(scope="session")
def crowded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a softmax and a sigmoid bundle, one that is none of ours, and a broken one."""
    sigmoid = {"similarity": "sigmoid", "logit_bias": "-5.0"}
    server = serve(tmp_path_factory, clip={}, siglip=sigmoid, foreign={"name": ""}, broken={})
    code = server.repository / "broken_image_stub" / "1" / "model.py"
    code.write_text("import not_installed_here\n")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mortal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = serve(tmp_path_factory, demo={})
    yield server
    server.kill()


@pytest.fixture
def restartable_server(mortal_server: Server) -> Server:
    """A server that a test may stop."""
    if not mortal_server.runs:
        mortal_server.start()
    return mortal_server


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server with one bundle, over either protocol."""
    return server.url(request.param)


@pytest.fixture(scope="session")
def png() -> Callable[[tuple[int, int, int] | str], bytes]:
    """Makes encoded images of one colour."""

    def make(colour: tuple[int, int, int] | str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def model_info() -> ModelInfo:
    """What the bundle `demo` says of itself."""
    parameters = {f"tritonclip_{key}": value for key, value in PARAMETERS.items()}
    config = ModelConfig(BATCH, parameters | {"tritonclip_name": "demo"})
    return parse_info("demo", config, config)
