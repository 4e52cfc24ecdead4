"""A pool of servers: what one of them does or is costs the others nothing, and no byte differs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulk_files import files_below
from echo_model import footprint, tritonserver_pid
from tritonclip import Client
from tritonclip.errors import ServerUnavailable
from tritonclip_bulk import pool
from tritonclip_bulk.errors import EndpointMismatch
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, bulk
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

OPTIONS = Options(size=6)


@pytest.fixture
def second(bulk_repository: Path, tmp_path: Path) -> Iterator[Server]:
    """Another server of the same, for a test to break."""
    shutil.copytree(bulk_repository, tmp_path / "second")
    with Server(tmp_path / "second", ports=Ports(0, 0, 0)) as running:
        yield running


@pytest.fixture
def many(pictures: Path, drawings: dict[str, bytes]) -> Path:
    """Three hundred of them."""
    for number in range(60, 300):
        (pictures / f"{number:03d}.png").write_bytes(drawings[f"{number % 60:03d}.png"])
    return pictures


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
def test_a_server_that_dies_or_hangs_costs_nothing(
    how: signal.Signals,
    many: Path,
    endpoints: Endpoints,
    second: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_LOST_SECONDS", 1.0)
    bulk([str(many)], str(tmp_path / "whole"), endpoints, options=OPTIONS)
    both = Endpoints((second.grpc_url, *endpoints.urls), patience=20)
    parts = footprint(tmp_path / "second").pids if how == signal.SIGKILL else []
    parts = parts or [tritonserver_pid(tmp_path / "second")]
    broken = threading.Event()

    def break_it(now: object) -> None:
        if now.done == 5 and not broken.is_set():  # type: ignore[attr-defined]
            broken.set()
            for pid in parts:
                os.kill(pid, how)

    report = bulk([str(many)], str(tmp_path / "out"), both, options=OPTIONS, on_progress=break_it)

    assert broken.is_set()
    assert (report.rows, report.undone) == (300, [])
    assert files_below(tmp_path / "out") == files_below(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_waits_for_its_only_server_to_come_back(
    pictures: Path, second: Server, tmp_path: Path
) -> None:
    alone = Endpoints((second.grpc_url,), patience=60)
    port = int(second.grpc_url.rpartition(":")[2])
    again: list[Server] = []

    def restart(now: object) -> None:
        if now.done == 2 and not again:  # type: ignore[attr-defined]
            second.stop()
            server = Server(tmp_path / "second", ports=Ports(http=0, grpc=port, metrics=0))
            again.append(server)
            threading.Timer(1.0, server.__enter__).start()

    try:
        report = bulk(
            [str(pictures)], str(tmp_path / "out"), alone, options=OPTIONS, on_progress=restart
        )
    finally:
        for server in again:
            server.stop()

    assert again
    assert (report.rows, report.undone) == (60, [])


def test_where_no_server_answers_the_run_says_so(pictures: Path, tmp_path: Path) -> None:
    nobody = Endpoints(("127.0.0.1:1", "127.0.0.1:2"))

    with pytest.raises(ServerUnavailable, match=r"no server answers: 127\.0\.0\.1:1: .*:2: "):
        bulk([str(pictures)], str(tmp_path / "out"), nobody)

    assert not (tmp_path / "out").exists()


def test_servers_that_embed_otherwise_are_named(
    pictures: Path, endpoints: Endpoints, bulk_repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(bulk_repository, tmp_path / "other")
    for name in ("demo_image", "demo_text"):
        config = tmp_path / "other" / name / "config.pbtxt"
        text = config.read_text()
        for key, old, new in (
            ("weights_sha256", r"\w{8}", "deadbeef"),
            ("precision", "fp32", "int8"),
        ):
            text = re.sub(rf'({key}"\s+value:? {{\s*string_value: "){old}', rf"\1{new}", text)
        config.write_text(text)
    with Server(tmp_path / "other", ports=Ports(0, 0, 0)) as other:
        with Client(other.grpc_url) as client:
            assert client.info().precision == "int8"
        mixed = Endpoints((*endpoints.urls, other.grpc_url))

        with pytest.raises(EndpointMismatch) as raised:
            bulk([str(pictures)], str(tmp_path / "out"), mixed)

    said = str(raised.value)
    assert other.grpc_url in said
    assert "its checkpoint is" in said
    assert "(deadbeef" in said
    assert "its precision is int8, not fp32" in said
    assert not (tmp_path / "out").exists()


def test_no_server_has_more_in_flight_than_its_share(
    many: Path, bulk_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    embed = Client.embed_images
    now: list[int] = []

    def counted(client: Client, images: object) -> object:
        nonlocal most
        now.append(1)
        most = max(most, len(now))
        try:
            return embed(client, images)  # type: ignore[arg-type]
        finally:
            now.pop()

    monkeypatch.setattr(Client, "embed_images", counted)

    bulk([str(many)], str(tmp_path / "out"), Endpoints((bulk_server.grpc_url,), in_flight=2))

    assert most == 2
