import contextlib
import dataclasses
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from echo_model import (
    ANY,
    CONFIG,
    IDENTITY,
    Footprint,
    add_model,
    echo_over_grpc,
    footprint,
    tritonserver_pid,
)
from tritonclip.errors import InvalidArgument
from tritonclip_export.errors import RepositoryError
from tritonclip_export.server import tritonserver
from tritonclip_export.server.log import Level
from tritonclip_export.server.ports import PortInUseError, Ports
from tritonclip_export.server.process import ServerDiedError
from tritonclip_export.server.server import ModelLoadError, Server, ServerTimeoutError
from tritonclip_export.server.tritonserver import ServerMissingError

pytestmark = pytest.mark.skipif(
    ".".join(platform.python_version_tuple()[:2]) not in tritonserver.PYTHONS
    or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the server from PyPI does not run here",
)

REFUSES = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("no tokenizer.json in this folder")
"""

NEVER_LOADS = "import time\ntime.sleep(60)\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    add_model(tmp_path / "repository", "identity", IDENTITY)
    return tmp_path / "repository"


def echo_over_http(url: str, value: bytes) -> bytes:
    with tritonclient.http.InferenceServerClient(url) as client:
        tensor = tritonclient.http.InferInput("IN", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[value]], dtype=object))
        return bytes(client.infer("identity", [tensor]).as_numpy("OUT")[0, 0])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_server_answers_on_all_endpoints_and_leaves_nothing_behind(repository: Path) -> None:
    shown: list[str] = []
    with Server(repository, ports=ANY, log=shown.append) as server:
        answers = [echo_over_grpc(server.grpc_url, b"caf\xc3\xa9") for _ in range(2)]
        answers.append(echo_over_http(server.http_url, b"caf\xc3\xa9"))
        with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as response:
            metrics = response.read().decode()
        running = footprint(repository)

    assert answers == [b"caf\xc3\xa9"] * 3
    assert 'nv_cache_num_hits_per_model{model="identity",version="1"} 2' in metrics
    assert shown == []  # the warnings about a missing GPU are no news to anybody
    assert len(running.pids) == 3
    assert len(running.paths) >= 2
    assert running.left == []
    assert not server.is_running


COMPLETED = (
    IDENTITY
    + """
    @staticmethod
    def auto_complete_config(config):
        config.add_output({"name": "OUT", "data_type": "TYPE_STRING", "dims": [1]})
        return config
"""
)


@pytest.mark.parametrize("name", ["our models", 'it\'s $(touch x); `y` & "z" (1)', "Bilder ÄÖ 图"])
def test_any_path_does_for_the_repository_and_for_temporary_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    add_model(folder / "models", "identity", IDENTITY)
    add_model(folder / "broken", "refuses", REFUSES)

    with Server(folder / "models", ports=ANY) as server:
        assert echo_over_grpc(server.grpc_url, b"there") == b"there"
    with pytest.raises(ModelLoadError) as caught, Server(folder / "broken", ports=ANY):
        pass

    assert caught.value.failures.keys() == {"refuses"}
    assert any(f"{folder}/broken/refuses" in line for line in caught.value.log)
    assert sorted(path.name for path in folder.iterdir()) == ["broken", "models"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_configs_are_completed_unless_all_of_them_are_ours(tmp_path: Path) -> None:
    mark = 'parameters { key: "tritonclip_bundle" value { string_value: "x" } }'
    lacking = "".join(line for line in CONFIG.splitlines(True) if not line.startswith("output"))
    add_model(tmp_path, "identity", COMPLETED, lacking)
    add_model(tmp_path, "ours", IDENTITY, CONFIG + mark)

    def outputs() -> int:
        with (
            Server(tmp_path, ports=ANY) as server,
            tritonclient.grpc.InferenceServerClient(server.grpc_url) as client,
        ):
            return len(client.get_model_config("identity").config.output)

    assert outputs() == 1
    (tmp_path / "identity" / "config.pbtxt").write_text(lacking + mark)
    assert outputs() == 0


def test_a_request_in_flight_is_answered_before_the_server_stops(repository: Path) -> None:
    answers: list[bytes] = []
    with Server(repository, ports=ANY) as server:
        url = server.grpc_url
        client = threading.Thread(target=lambda: answers.append(echo_over_grpc(url, b"slow")))
        client.start()
        time.sleep(0.4)
    client.join()

    assert answers == [b"slow"]


def test_two_servers_at_once_do_not_fight_for_the_usual_ports(tmp_path: Path) -> None:
    empty = {"control": "explicit"}
    with Server(tmp_path, **empty) as one, Server(tmp_path, **empty) as two:  # type: ignore[arg-type]
        urls = [
            *(one.http_url, one.grpc_url, one.metrics_url),
            *(two.http_url, two.grpc_url, two.metrics_url),
        ]
        assert one.is_running
        assert two.is_running

    assert len(set(urls)) == 6


def test_a_stopped_server_starts_again_on_the_same_ports(tmp_path: Path) -> None:
    with Server(tmp_path, control="explicit", ports=ANY) as first:
        http, grpc, metrics = (
            int(url.split(":")[1]) for url in (first.http_url, first.grpc_url, first.metrics_url)
        )
        with urllib.request.urlopen(f"http://{first.http_url}/v2") as response:
            response.read()

    second = Server(tmp_path, control="explicit", ports=Ports(http, grpc, metrics))
    for _ in range(2):
        with second:
            assert second.http_url == f"127.0.0.1:{http}"


def test_a_server_that_polls_takes_up_a_new_model(tmp_path: Path) -> None:
    with Server(tmp_path, control="poll", poll_seconds=1, ports=ANY) as server:
        add_model(tmp_path, "identity", IDENTITY)
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            deadline = time.monotonic() + 10
            while not client.is_model_ready("identity") and time.monotonic() < deadline:
                time.sleep(0.05)
        assert echo_over_grpc(server.grpc_url, b"new") == b"new"


def test_models_that_do_not_load_are_named_with_the_servers_reasons(tmp_path: Path) -> None:
    add_model(tmp_path, "refuses", REFUSES)
    add_model(tmp_path, "typo", IDENTITY, config='backend: "python"\nmax_batch_size: many\n')
    add_model(tmp_path, "elsewhere", IDENTITY, config='backend: "onnxruntime"')
    server = Server(tmp_path, ports=ANY, log=lambda _: None)

    with pytest.raises(ModelLoadError) as caught, server:
        pass

    failures = caught.value.failures
    assert sorted(failures) == ["elsewhere", "refuses", "typo"]
    assert "RuntimeError: no tokenizer.json in this folder" in failures["refuses"]
    assert "line 2, column 17: Expected integer, got: many" in failures["typo"]
    assert "unable to find backend library for backend 'onnxruntime'" in failures["elsewhere"]
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) < 10
    assert any("loading: refuses:1" in line for line in caught.value.log)
    assert not server.is_running


def test_a_busy_port_is_named_when_it_was_asked_for(
    repository: Path, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]

    with (
        pytest.raises(PortInUseError, match=str(port)) as caught,
        Server(repository, ports=Ports(grpc=port)),
    ):
        pass

    assert caught.value.port == port


def test_a_port_that_is_taken_between_the_look_and_the_start_costs_one_more_try(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = listener.getsockname()[1]
    really_resolve = Ports.resolve
    looks: list[str] = []

    def resolve(ports: Ports, host: str) -> Ports:
        looks.append(host)
        found = really_resolve(ports, host)
        return dataclasses.replace(found, metrics=taken) if len(looks) == 1 else found

    monkeypatch.setattr(Ports, "resolve", resolve)
    with Server(tmp_path, control="explicit", ports=ANY, log=lambda _: None) as server:
        assert server.metrics_url != f"127.0.0.1:{taken}"

    assert len(looks) == 2


def test_a_server_that_is_not_ready_in_time_is_stopped_and_says_what_it_waited_for(
    tmp_path: Path,
) -> None:
    add_model(tmp_path, "endless", NEVER_LOADS)
    server = Server(tmp_path, ports=ANY, start_timeout=1.5)
    threading.Timer(1.0, lambda: running.append(footprint(tmp_path))).start()
    running: list[Footprint] = []

    with pytest.raises(ServerTimeoutError, match="still loading: endless"), server:
        pass

    assert len(running[0].pids) == 3
    assert running[0].left == []


def test_the_death_of_a_server_is_reported_with_its_signal(repository: Path) -> None:
    with Server(repository, ports=ANY) as server:
        assert server.wait(timeout=0.01) is False
        running = footprint(repository)
        os.kill(tritonserver_pid(repository), signal.SIGKILL)
        with pytest.raises(ServerDiedError, match="SIGKILL"):
            server.wait(timeout=10)
        assert not server.is_running
        assert running.left == []


OWNER = """
    import sys, time
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Server

    with Server(sys.argv[1], control=sys.argv[2], ports=Ports(0, 0, 0)) as server:
        try:
            print("ready", flush=True)
            server.wait()
        except KeyboardInterrupt:
            pass
    print("stopped", flush=True)
"""


@contextlib.contextmanager
def owner_of_a_server(repository: Path, control: str = "none") -> Iterator["subprocess.Popen[str]"]:
    """Another program that runs a server on `repository`, in its own process group."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(repository), control],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_server_ends_when_its_owner_is_killed(repository: Path) -> None:
    with owner_of_a_server(repository) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        running = footprint(repository)
        owner.kill()

        running.wait_until_gone()


def test_a_server_that_still_loads_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    add_model(tmp_path, "endless", NEVER_LOADS)
    with owner_of_a_server(tmp_path) as owner:
        time.sleep(2)
        running = footprint(tmp_path)
        owner.kill()

        assert len(running.pids) == 3
        running.wait_until_gone()


def test_ctrl_c_in_a_terminal_lets_the_server_stop_in_order(tmp_path: Path) -> None:
    with owner_of_a_server(tmp_path, "explicit") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        running = footprint(tmp_path)
        os.killpg(owner.pid, signal.SIGINT)

        assert owner.stdout.readline() == "stopped\n"
        assert running.left == []


def test_a_log_listener_that_fails_does_not_stop_the_server(tmp_path: Path) -> None:
    def closed_terminal(line: str) -> None:
        raise OSError(line)

    server = Server(
        tmp_path, control="explicit", ports=ANY, log=closed_terminal, log_level=Level.INFO
    )
    with server:
        assert server.is_running

    assert any("Started HTTPService" in line for line in server.log_tail)


def test_a_folder_without_models_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RepositoryError, match="tritonclip assemble"), Server(folder):
            pass


def test_a_foreign_address_is_refused(repository: Path) -> None:
    with (
        pytest.raises(InvalidArgument, match=r"203\.0\.113\.1"),
        Server(repository, host="203.0.113.1"),
    ):
        pass


def test_an_environment_that_cannot_run_the_server_is_told_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.4.0")
    with pytest.raises(ServerMissingError, match=r"numpy 2\.4\.0: pip install 'numpy<2'"):
        tritonserver.locate()

    monkeypatch.setattr("sys.version_info", (3, 13, 1))
    with pytest.raises(ServerMissingError, match=r"not on 3\.13: make another environment"):
        tritonserver.locate()

    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(ServerMissingError, match=r"Darwin.*--container"):
        tritonserver.locate()
