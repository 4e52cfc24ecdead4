"""Two servers behind one name, as the chart has them: load is spread, and a restart costs nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from dns_server import DnsServer

from tritonclip import Client
from tritonclip.endpoint import Endpoint, parse_endpoint
from tritonclip.errors import TritonClipError
from tritonclip_export.bench.triton import statistics
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

# What the chart gives tritonserver, with a connection's life and so the drain a thirtieth as long.
AGE = 1.0
ARGUMENTS = (
    f"--grpc-max-connection-age={round(1000 * AGE)}",
    "--grpc-max-connection-age-grace=60000",
)
# A connection lives a tenth longer by chance, and clients look addresses up once a second at most.
DRAIN = 1.1 * AGE + 1.0 + 0.5
TEXT = "a rocket"


@dataclass
class Fleet:
    """Servers on one port of two loopback addresses, and the name server that knows them."""

    name: str
    dns: DnsServer
    servers: dict[str, Server]

    def restart(self, address: str) -> None:
        """As Kubernetes does it: the address is withdrawn, the pod serves on, then it stops."""
        self.dns.addresses.remove(address)
        time.sleep(DRAIN)
        self.servers[address].stop()
        self.servers[address].start()
        self.dns.addresses.append(address)

    def answered(self, address: str) -> int:
        """Requests for texts that a server has answered since it started."""
        counted = statistics(
            parse_endpoint(self.servers[address].grpc_url),
        )["demo_text"]
        return int(counted["inference_stats"]["success"].get("count", 0))


@pytest.fixture
def fleet(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    port = free_port()
    with ExitStack() as stack:
        servers = {
            address: stack.enter_context(
                Server(
                    repository,
                    host=address,
                    ports=Ports(0, port, 0),
                    control="explicit",
                    load=("demo_image", "demo_text"),
                    extra_args=ARGUMENTS,
                )
            )
            for address in ("127.0.0.1", "127.0.0.2")
        }
        dns = stack.enter_context(DnsServer(list(servers)))
        resolved = property(lambda self: f"dns://127.0.0.1:{dns.port}/{self.host}:{self.port}")
        with monkeypatch.context() as patch:
            patch.setattr(Endpoint, "authority", resolved)
            yield Fleet(f"clip-server.test:{port}", dns, servers)


@dataclass
class Load:
    """Callers who ask one thing after the other until they are told to stop."""

    url: str
    expected: np.ndarray
    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with Client(self.url, model="demo") as clip:
            while not self._over.is_set():
                try:
                    vector = clip.embed_texts(TEXT)
                except TritonClipError as error:
                    self.wrong.append(str(error))
                else:
                    self.answers += 1
                    if not np.allclose(vector, self.expected, atol=1e-6):
                        self.wrong.append("another vector")
                time.sleep(0.005)


def test_servers_behind_one_name_share_the_load_and_restart_without_a_failed_request(
    fleet: Fleet,
) -> None:
    with Client(fleet.name, model="demo") as clip:
        expected = clip.embed_texts(TEXT)

    with Load(fleet.name, expected) as load:
        time.sleep(1.5)
        shares = {address: fleet.answered(address) for address in fleet.servers}
        for address in fleet.servers:
            fleet.restart(address)
        time.sleep(DRAIN)
        after = {address: fleet.answered(address) for address in fleet.servers}

    assert load.wrong == []
    assert load.answers > 100
    assert min(shares.values()) > 0.4 * sum(shares.values())
    # Both have come back into service, the first one while the second was away.
    assert all(count > 20 for count in after.values())


def free_port() -> int:
    """One that is free on both addresses."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        second.bind(("127.0.0.2", port))
        return port
