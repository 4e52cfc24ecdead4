"""What a peer is: how it is installed, started and asked."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tritonclip.endpoint import Endpoint
from tritonclip.errors import TritonClipError
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Service, check
from tritonclip_export.bench.sending import Request, RequestFailed, Target, senders
from tritonclip_export.bench.workloads import Workload, text

START_SECONDS = 180.0
DIM = 512  # of ViT-B/32


class PeerError(TritonClipError):
    """A peer cannot be installed or started here."""


@dataclass(frozen=True)
class Place:
    """Where a peer lives: its interpreter, the checkpoint as it takes it, and its port."""

    python: Path
    folder: Path
    """Its own, for what it needs on disk."""
    bundle: Path
    """Ours, for its tokenizer."""
    port: int


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        name: in the results.
        about: for the page, in a sentence.
        packages: what is installed, as pip takes it.
        prepare: writes what it needs into `Place.folder`, once.
        command: starts it.
        protocol: that it is asked in.
        path: the HTTP path or gRPC method for a kind of input.
        request: one item as a request.
        embedding: finds the vector in an answer; some servers report failures as success.
        interpreter: the Python it needs, as in `3.9`; empty for this one's.
        environment: variables for the process.
    """

    name: str
    about: str
    packages: tuple[str, ...]
    prepare: Callable[[Place], None]
    command: Callable[[Place], list[str]]
    path: Callable[[str], str]
    request: Callable[[str, bytes], Request]
    embedding: Callable[[bytes], Sequence[float]]
    interpreter: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def install(peer: Peer, work: Path, interpreter: Path | None) -> Path:
    """Make the peer's environment, once, and return its interpreter.

    Args:
        peer: the peer.
        work: environments are made below it.
        interpreter: a Python of the version it needs; None to look for one.

    Raises:
        PeerError: there is none, or the packages cannot be installed.
    """
    folder = work / "environments" / peer.name.replace(" ", "-")
    python, ready = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(peer.packages)
    if ready.is_file() and ready.read_text() == wanted:
        return python
    base = interpreter or _interpreter(peer)
    if shutil.which("uv"):
        _run(["uv", "venv", "--quiet", "--clear", "--python", str(base), str(folder)])
        _run(["uv", "pip", "install", "--quiet", "--python", str(python), *peer.packages])
    else:
        _run([str(base), "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *peer.packages])
    ready.write_text(wanted)
    return python


def _interpreter(peer: Peer) -> Path:
    if not peer.interpreter:
        return Path(sys.executable)
    name = f"python{peer.interpreter}"
    managed = Path.home().glob(f".pyenv/versions/{peer.interpreter}.*/bin/python")
    for found in (shutil.which(name), *managed):
        if found and subprocess.run([found, "-V"], capture_output=True).returncode == 0:
            return Path(found)
    raise PeerError(
        f"{peer.name} needs Python {peer.interpreter}, and there is no {name} here: name one with "
        f"--interpreter {peer.interpreter}=/path/to/python (uv python install {peer.interpreter})"
    )


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(f"{' '.join(command)}:\n{(done.stdout + done.stderr).strip()[-2000:]}")


@contextmanager
def running(peer: Peer, python: Path, work: Path, bundle: Path) -> Iterator[Service]:
    """The peer, started and answering; it ends with the block.

    Raises:
        PeerError: it ends by itself or does not answer in time; tells what it printed last.
    """
    folder = work / "peers" / peer.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(python, folder, bundle, _free_port())
    peer.prepare(place)
    log = folder / "log"
    inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}  # all cores
    with log.open("wb") as stream:
        process = subprocess.Popen(
            peer.command(place),
            cwd=folder,
            env={**inherited, "HF_HUB_OFFLINE": "1", "HOME": str(folder), **peer.environment},
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # so that all that it starts ends with it
        )
    service = _service(peer, place.port, process.pid)
    try:
        _await(service, process, log)
        for probe in workloads.named("text-short,jpeg-224x224"):
            _check(peer, check(service, probe, batch=1), probe.name)
        yield service
    finally:
        _stop(process)


def _check(peer: Peer, answer: bytes, asked: str) -> None:
    try:
        found = len(peer.embedding(answer))
    except (ValueError, LookupError, TypeError):
        found = 0
    if found != DIM:
        raise PeerError(
            f"{peer.name} answers {asked} with a vector of {found} numbers, not {DIM}: "
            f"{answer[:300].decode(errors='replace')}"
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(10)


@dataclass(frozen=True)
class _Requests:
    """Picklable, where a closure would not be."""

    make: Callable[[str, bytes], Request]
    workload: Workload

    def __call__(self, number: int) -> Request:
        return self.make(self.workload.kind, self.workload.item(number))


def _service(peer: Peer, port: int, pid: int) -> Service:
    def requests(workload: Workload, batch: int) -> _Requests:
        if batch != 1:
            raise PeerError("peers are asked for one item a request")
        return _Requests(peer.request, workload)

    endpoint = Endpoint("http", False, "127.0.0.1", port)
    return Service(
        name=peer.name,
        target=lambda workload: Target(endpoint, peer.path(workload.kind)),
        requests=requests,
        pid=pid,
    )


def _await(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    probe = Workload("probe", "text", "", lambda number: text(number, 1))
    end = time.monotonic() + START_SECONDS
    failure = ""
    while process.poll() is None and time.monotonic() < end:
        with senders(service.target(probe), 1, timeout=10) as (send,):
            try:
                send(service.requests(probe, 1)(0))
            except RequestFailed as error:
                failure = str(error)
                time.sleep(0.5)
            else:
                return
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise PeerError(f"{service.name} does not answer ({failure}); it said:\n{said}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
