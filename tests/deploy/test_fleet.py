"""Two servers behind one name, as the chart has them, a gateway, and a Prometheus that watches.

The load grows, then the servers are restarted one after the other. What was asked of them, and
every query of the dashboard, the alerts and the autoscaling, is looked at afterwards.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from charts import DEPLOY, one, render
from dns_server import DnsServer
from gateways import running
from prometheus import Prometheus
from tritonclip import Client
from tritonclip.endpoint import Endpoint, parse_endpoint
from tritonclip.errors import TritonClipError
from tritonclip_export.bench.triton import statistics
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

# Two servers and a Prometheus under load for most of a minute.
pytestmark = pytest.mark.slow

# What the chart gives tritonserver; a connection's life, and so the drain, is a thirtieth of its.
AGE = 1.0
ARGUMENTS = (
    f"--grpc-max-connection-age={round(1000 * AGE)}",
    "--grpc-max-connection-age-grace=60000",
    "--metrics-config=summary_latencies=true",
)
PODS = {"127.0.0.1": "demo-tritonclip-server-a", "127.0.0.2": "demo-tritonclip-server-b"}
NAME = "clip-server.test"
TEXT = "a rocket"


@dataclass
class Load:
    """Callers who ask one thing after the other until they are told to stop.

    They ask the gateway where `url` is one of HTTP.
    """

    url: str
    callers: int
    expected: npt.NDArray[np.float32]
    pause: float = 0.0
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        if self.url.startswith("http://"):
            self._ask_gateway()
            return
        with Client(self.url, model="demo") as clip:
            while not self._over.wait(self.pause):
                try:
                    vector = clip.embed_texts(TEXT)
                except TritonClipError as error:
                    self.wrong.append(str(error))
                else:
                    self.answers += 1
                    if not np.allclose(vector, self.expected, atol=1e-6):
                        self.wrong.append("another vector")

    def _ask_gateway(self) -> None:
        body = {"model": "demo", "input": TEXT}
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while not self._over.wait(self.pause):
                answer = http.post("/v1/embeddings", json=body)
                if answer.status_code != 200:
                    self.wrong.append(answer.text)
                    continue
                self.answers += 1
                if not np.allclose(answer.json()["data"][0]["embedding"], self.expected, atol=1e-6):
                    self.wrong.append("another vector")


@dataclass
class Fleet:
    """Servers on one port of two loopback addresses, and the name server that knows them."""

    url: str
    dns: DnsServer
    servers: dict[str, Server]

    def restart(self, address: str) -> None:
        """As Kubernetes does it: the address is withdrawn, the pod serves on, then it stops.

        The chart waits for so long that nobody asks any more; here that is looked for.
        """
        self.dns.addresses.remove(address)
        deadline = time.monotonic() + 60
        asked, before = self.answered()[address], -1
        while asked != before:
            assert time.monotonic() < deadline, "clients do not leave a server that is withdrawn"
            time.sleep(AGE)
            asked, before = self.answered()[address], asked
        self.servers[address].stop()
        self.servers[address].start()
        self.dns.addresses.append(address)

    def answered(self) -> dict[str, int]:
        """Requests for texts that each server has answered since it started."""
        found = {a: statistics(parse_endpoint(s.grpc_url)) for a, s in self.servers.items()}
        return {
            address: int(models["demo_text"]["inference_stats"]["success"].get("count", 0))
            for address, models in found.items()
        }


@dataclass
class Observed:
    """What happened."""

    prometheus: Prometheus
    quiet: float
    """When there had been few requests, in seconds since 1970."""
    busy: float
    """When there had been many."""
    restarted: tuple[Load, Load]
    """While both servers were restarted: of the servers, and of the gateway."""
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def observed(
    bundle: Callable[[str], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
    twemoji: dict[str, bytes],
) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("fleet")
    assemble([bundle("demo")], folder / "repository", runtime="python")
    grpc, *metrics = free_ports(3)
    with ExitStack() as stack:
        servers = {
            address: stack.enter_context(
                Server(
                    folder / "repository",
                    host=address,
                    ports=Ports(0, grpc, port),
                    extra_args=ARGUMENTS,
                )
            )
            for address, port in zip(PODS, metrics, strict=True)
        }
        dns = stack.enter_context(DnsServer(list(servers)))
        asked = f"dns://127.0.0.1:{dns.port}/"
        resolved = property(
            lambda self: f"{asked if self.host == NAME else ''}{self.host}:{self.port}"
        )
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(Endpoint, "authority", resolved)
        # As the chart has it, through the name of the service.
        gateway = stack.enter_context(running(triton=(f"{NAME}:{grpc}",)))
        watched = {PODS[address]: server.metrics_url for address, server in servers.items()}
        watched["demo-tritonclip-gateway"] = gateway.url.removeprefix("http://")
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", watched))
        fleet = Fleet(f"{NAME}:{grpc}", dns, servers)

        with Client(fleet.url, model="demo", concurrency=32, batch_size=1) as clip:
            expected = clip.embed_texts(TEXT)
            with Load(fleet.url, 1, expected, pause=0.05):
                time.sleep(2.5)
            quiet, before = time.time(), fleet.answered()
            with Load(gateway.url, 1, expected, pause=0.05):
                for _ in clip.stream_images(list(twemoji.values())[:1000]):
                    pass
            time.sleep(1)  # until it is looked at
            busy = time.time()
        with (
            Load(fleet.url, 4, expected, pause=0.005) as direct,
            Load(gateway.url, 2, expected, pause=0.02) as through_gateway,
        ):
            for address in servers:
                fleet.restart(address)
            time.sleep(4 * AGE)
        restarted = direct, through_gateway
        yield Observed(prometheus, quiet, busy, restarted, before, fleet.answered())


def test_a_rolling_restart_under_load_fails_no_request(observed: Observed) -> None:
    for load in observed.restarted:
        assert load.wrong == []
        assert load.answers > 100
    # Both have come back into service.
    assert all(count > 10 for count in observed.after.values())


def test_a_client_takes_the_servers_behind_a_name_in_turns(observed: Observed) -> None:
    assert min(observed.before.values()) > 0.4 * sum(observed.before.values())


def test_every_query_of_the_dashboard_finds_something(observed: Observed) -> None:
    dashboard = json.loads((DEPLOY / "dashboards" / "tritonclip.json").read_text())
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]

    found = {}
    for query in queries:
        here = query.replace("$namespace", "clip").replace("$price", "0.80")
        found[query] = observed.prometheus.query(here.replace("$__rate_interval", "1m"))

    empty = {query for query, result in found.items() if not result}
    # Nothing has failed, and there is no GPU.
    assert {query for query in empty if "nv_gpu" not in query and "failure" not in query} == set()
    assert len(queries) - len(empty) >= 15


def test_every_alert_can_be_asked_and_none_fires(observed: Observed) -> None:
    (group,) = yaml.safe_load((DEPLOY / "dashboards" / "alerts.yaml").read_text())["groups"]

    fired = [rule["alert"] for rule in group["rules"] if observed.prometheus.query(rule["expr"])]

    assert fired == []


def test_autoscaling_sees_the_queue_grow_with_the_load_by_either_way(observed: Observed) -> None:
    queue, requests = (rule["metricsQuery"] for rule in adapter_rules())
    scaled = one(render("scaling/keda"), "ScaledObject", "demo-tritonclip-server")
    keda_queue, keda_requests = (
        trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]
    )

    for at in (observed.quiet, observed.busy):
        by_pod = values(observed.prometheus, for_pods(queue), at)
        # The adapter hands over a value a pod, of which Kubernetes takes the mean.
        assert len(by_pod) == 2
        (mean,) = values(observed.prometheus, keda_queue, at)
        assert mean == pytest.approx(np.mean(by_pod))
        (total,) = values(observed.prometheus, keda_requests, at)
        assert total == pytest.approx(sum(values(observed.prometheus, for_pods(requests), at)))
    (quiet,) = values(observed.prometheus, keda_queue, observed.quiet)
    (busy,) = values(observed.prometheus, keda_queue, observed.busy)
    assert busy > 3 * quiet


def adapter_rules() -> list[dict[str, str]]:
    read = yaml.safe_load((DEPLOY / "autoscaling" / "prometheus-adapter.yaml").read_text())
    rules: list[dict[str, str]] = read["rules"]["custom"]
    return rules


def for_pods(query: str) -> str:
    """A query of the adapter as it asks it for the pods of a namespace."""
    pods = "|".join(PODS.values())
    matchers = f'namespace="clip",pod=~"{pods}"'
    return query.replace("<<.LabelMatchers>>", matchers).replace("<<.GroupBy>>", "pod")


def values(prometheus: Prometheus, query: str, at: float) -> list[float]:
    return [float(found["value"][1]) for found in prometheus.query(query, at=at)]


def free_ports(count: int) -> list[int]:
    """Some that are free on all loopback addresses."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("", 0))
        return [int(each.getsockname()[1]) for each in opened]
