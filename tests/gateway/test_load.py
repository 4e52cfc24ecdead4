"""A gateway with more to do than it can, in front of servers that hang, die and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gateway_proxy import Proxy, proxied
from tritonclip_export.server.server import Server
from tritonclip_gateway.serving import HttpServer


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with proxied(server.grpc_url) as opened:
        yield opened
        opened.release()


@pytest.fixture
def held(start: Callable[..., Any], proxy: Proxy) -> Iterator[HttpServer]:
    """A gateway with room for eight items, whose server takes requests and does not answer."""
    with start(triton=(proxy.address,), queue=8, default_model="demo") as started:
        proxy.hold()
        yield started


def ask(gateway: HttpServer, items: int = 1, **headers: str) -> httpx.Response:
    body = {"input": [f"text {time.perf_counter()} {i}" for i in range(items)]}
    return httpx.post(f"{gateway.url}/v1/embeddings", json=body, headers=headers, timeout=60)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_beyond_the_queue_callers_are_told_to_come_back_and_nothing_is_lost(
    held: HttpServer, proxy: Proxy
) -> None:
    admission = held.gateway.admission
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, held, 4) for _ in range(2)]
        wait_for(lambda: admission.items == 8)

        refused = ask(held)
        proxy.release()
        answered = [each.result() for each in waiting]

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) >= 1
    assert [each.status_code for each in answered] == [200, 200]
    assert ask(held, 20).status_code == 200  # alone, however large
    assert admission.items == 0


def test_a_deadline_ends_the_work(held: HttpServer) -> None:
    began = time.monotonic()
    answer = ask(held, **{"X-Request-Timeout": "0.3"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"
    assert 0.3 <= time.monotonic() - began < 5
    assert held.gateway.admission.items == 0
    wait_for(lambda: sum(server.in_flight for server in held.gateway.models.servers) == 0)
    assert ask(held, **{"X-Request-Timeout": "soon"}).status_code == 400


def test_a_caller_who_hangs_up_frees_the_place(held: HttpServer) -> None:
    admission = held.gateway.admission

    async def hang_up() -> None:
        async with httpx.AsyncClient() as client:
            body = {"input": ["a text"] * 8}
            task = asyncio.ensure_future(client.post(f"{held.url}/v1/embeddings", json=body))
            while admission.items < 8:
                await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(hang_up())

    wait_for(lambda: admission.items == 0)
    wait_for(lambda: sum(server.in_flight for server in held.gateway.models.servers) == 0)


def test_when_told_to_stop_it_answers_what_is_in_flight_and_takes_no_more(
    start: Callable[..., Any], proxy: Proxy
) -> None:
    with start(triton=(proxy.address,), default_model="demo") as gateway:
        proxy.hold()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, gateway)
            wait_for(lambda: gateway.gateway.admission.items == 1)
            gateway.should_exit = True
            wait_for(lambda: _is_refused(gateway.url))
            proxy.release()
            answer = waiting.result()
    assert answer.status_code == 200


def _is_refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/health/live", timeout=1)
    except httpx.TransportError:
        return True
    return False


def test_a_server_that_dies_costs_no_error(start: Callable[..., Any], server: Server) -> None:
    with (
        proxied(server.grpc_url) as one,
        proxied(server.grpc_url) as two,
        start(triton=(one.address, two.address), default_model="demo") as gateway,
    ):
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, gateway) for _ in range(40)]
            wait_for(lambda: all(answer.done() for answer in answers[:20]))
            one_before, two_before = one.requests, two.requests
            one.cut()
            answers += [pool.submit(ask, gateway) for _ in range(80)]
            statuses = {each.result().status_code for each in answers}
        model = gateway.gateway.models.get("demo")
        ready = httpx.get(f"{gateway.url}/health/ready").status_code
        by_url = {s.url: well for s, well in model.servers.items()}

    assert statuses == {200}
    assert min(one_before, two_before) > 0
    assert by_url == {one.address: False, two.address: True}
    assert ready == 200


def test_without_a_server_it_starts_says_so_and_goes_on_when_one_comes(
    start: Callable[..., Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tritonclip_gateway.triton.models._PAUSE", 0.2)
    with proxied(server.grpc_url) as proxy:
        proxy.hold()
        monkeypatch.setattr("tritonclip_gateway.triton.server._SOON", 0.5)
        with start(triton=(proxy.address,), default_model="demo") as gateway:
            assert httpx.get(f"{gateway.url}/health/ready").status_code == 503
            answer = ask(gateway)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "model_unavailable"
            assert "Retry-After" in answer.headers
            proxy.release()
            wait_for(lambda: httpx.get(f"{gateway.url}/health/ready").status_code == 200)
            assert ask(gateway).status_code == 200


@pytest.mark.slow
def test_memory_stays_flat(gateway: HttpServer) -> None:
    """Of what requests leave behind; the study does it with 200,000."""
    import gc
    import tracemalloc

    with httpx.Client(base_url=gateway.url) as client:

        def some() -> None:
            for i in range(300):
                client.post("/v1/embeddings", json={"input": f"text {i}"}).raise_for_status()

        some()
        tracemalloc.start()
        some()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some()
        some()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert after - before < 1_000_000
