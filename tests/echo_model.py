"""A small model whose server comes up in a second, and what a server has on this machine."""

import contextlib
import dataclasses
import re
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc

from tritonclip_export.server.ports import Ports

ANY = Ports(http=0, grpc=0, metrics=0)

CONFIG = """
backend: "python"
max_batch_size: 8
input [{name: "IN" data_type: TYPE_STRING dims: [1]}]
output [{name: "OUT" data_type: TYPE_STRING dims: [1]}]
response_cache {enable: true}
"""

# Echoes its input; the input b"slow" takes a second.
IDENTITY = """
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(r, "IN").as_numpy()) for r in requests]

    def answer(self, values):
        if b"slow" in values:
            time.sleep(1)
        return pb.InferenceResponse([pb.Tensor("OUT", values)])
"""


def add_model(repository: Path, name: str, code: str, config: str = CONFIG) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    # Moved into place, so that a server which polls never reads half a file.
    (folder / "config.pbtxt").write_text(config)
    (folder / "config.pbtxt").rename(repository / name / "config.pbtxt")


@dataclasses.dataclass
class Footprint:
    """What a running server has on this machine."""

    pids: list[int]
    paths: list[Path]

    @property
    def left(self) -> list[object]:
        alive = [pid for pid in self.pids if Path(f"/proc/{pid}/cmdline").exists()]
        return [*alive, *(path for path in self.paths if path.exists())]

    def wait_until_gone(self, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while self.left and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self.left


def footprint(repository: Path) -> Footprint:
    """The keeper, the server and the Python stubs that work for `repository`, and their files."""
    commands: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = entry.read_text(errors="replace").replace("\0", " ")
            if str(repository) in command and ("tritonserver" in command or "_stub" in command):
                commands[int(entry.parent.name)] = command
    server = next(c for c in commands.values() if "shm-region-prefix-name" in c)
    prefix = re.search(r"shm-region-prefix-name=(\S+)", server)
    scratch = re.search(r"--backend-directory=(\S+)", server)
    assert prefix
    assert scratch
    regions = list(Path("/dev/shm").glob(f"{prefix[1]}*"))
    return Footprint(list(commands), [*regions, Path(scratch[1])])


def tritonserver_pid(repository: Path) -> int:
    return next(
        pid
        for pid in footprint(repository).pids
        if Path(f"/proc/{pid}/exe").readlink().name == "tritonserver"
    )


def echo_over_grpc(url: str, value: bytes) -> bytes:
    with tritonclient.grpc.InferenceServerClient(url) as client:
        tensor = tritonclient.grpc.InferInput("IN", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[value]], dtype=object))
        return bytes(client.infer("identity", [tensor]).as_numpy("OUT")[0, 0])


def until_it_answers(url: str) -> None:
    """Wait for a server that starts, or starts again."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            assert echo_over_grpc(url, b"again") == b"again"
        except Exception:  # whatever a server in pieces makes of a request
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it never answered")
