"""What happens when a server is slow, busy, away, or something else."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tritonclip import (
    Client,
    RequestTimeout,
    ServerUnavailable,
    TritonClipError,
    WrongProtocol,
)


def test_a_late_answer_is_a_typed_timeout_and_is_not_retried(url, png):
    with Client(url, timeout=0.3) as clip:
        clip.info()
        start = time.monotonic()
        with pytest.raises(RequestTimeout, match=r"within 0.3 s; raise `timeout`") as caught:
            clip.embed_images(b"sleep 1;" + png("red"))
        assert time.monotonic() - start < 0.9
        assert isinstance(caught.value, TimeoutError)


def test_a_busy_server_is_tried_again(url):
    text = f"busy {uuid.uuid4().hex[:8]} 1;red"
    with Client(url, retries=3) as clip:
        assert clip.embed_texts(text).shape == (4,)


def test_retries_are_counted(url):
    text = f"busy {uuid.uuid4().hex[:8]} 99;red"
    with Client(url, retries=1) as clip:
        start = time.monotonic()
        with pytest.raises(ServerUnavailable, match="queue full"):
            clip.embed_texts(text)
        assert 0.1 < time.monotonic() - start < 1
    with Client(url, retries=0) as clip, pytest.raises(ServerUnavailable):
        clip.embed_texts(f"busy {uuid.uuid4().hex[:8]} 1;red")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_named_with_what_to_do(scheme):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{s.getsockname()[1]}"
        with Client(url, retries=1) as clip:
            with pytest.raises(ServerUnavailable, match=f"no server at {url}.*tritonclip serve"):
                clip.embed_texts("red")
            health = clip.health()
            assert (health.live, health.ready, health.model_ready) == (False, False, False)
            assert url in health.detail


def test_a_host_without_an_address_is_named():
    for url in ("grpc://nosuch.invalid", "http://nosuch.invalid"):
        with Client(url, retries=0, timeout=5) as clip, pytest.raises(ServerUnavailable, match=url):
            clip.info()


def test_the_wrong_one_of_tritons_ports_is_recognised(server):
    with (
        Client(f"http://127.0.0.1:{server.grpc_port}") as clip,
        pytest.raises(WrongProtocol, match=f"not HTTP.*grpc://127.0.0.1:{server.grpc_port}"),
    ):
        clip.info()
    with (
        Client(f"127.0.0.1:{server.http_port}", retries=0) as clip,
        pytest.raises(ServerUnavailable, match=f"not Triton's gRPC port.*{server.http}"),
    ):
        clip.info()


def test_a_server_without_tls_is_recognised(server):
    for url in (f"grpcs://{server.grpc}", f"https://127.0.0.1:{server.http_port}"):
        with (
            Client(url, retries=0) as clip,
            pytest.raises(ServerUnavailable, match="no server with TLS at"),
        ):
            clip.info()


def test_a_server_that_never_answers_costs_no_more_than_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("grpc", "http"):
            url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
            start = time.monotonic()
            with Client(url, timeout=0.4) as clip, pytest.raises(RequestTimeout):
                clip.info()
            assert time.monotonic() - start < 2


def test_a_restarted_server_is_found_again(restartable_server, png):
    urls = [restartable_server.url(protocol) for protocol in ("grpc", "http")]
    with Client(urls[0], retries=20) as grpc, Client(urls[1], retries=20) as http:
        before = grpc.embed_images(png("red"))
        assert (http.embed_images(png("red")) == before).all()
        restartable_server.stop()
        restart = threading.Thread(target=restartable_server.start)
        restart.start()
        assert (grpc.embed_images(png("red")) == before).all()
        assert (http.embed_images(png("red")) == before).all()
        restart.join()


PROXIED = """
import asyncio, sys
from tritonclip import AsyncClient, Client

async def embed(url):
    async with AsyncClient(url, retries=0) as clip:
        return await clip.embed_texts("red")

for url in sys.argv[1:]:
    with Client(url, retries=0) as clip:
        assert (clip.embed_texts("red") == asyncio.run(embed(url))).all()
"""


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(server):
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "grpc_proxy"], "http://127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, "-c", PROXIED, *(server.url(protocol) for protocol in ("grpc", "http"))],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import os, signal, sys, threading, time
from tritonclip import Client

clip = Client(sys.argv[1], batch_size=1)
clip.info()
threading.Timer(0.4, os.kill, [os.getpid(), signal.SIGINT]).start()
start = time.monotonic()
try:
    clip.embed_texts(["sleep 30;red"] * int(sys.argv[2]))
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 1.5)
"""


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("items", ["1", "4"])
def test_ctrl_c_ends_a_call_and_the_process(restartable_server, protocol, items):
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, restartable_server.url(protocol), items],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert run.stdout == "interrupted True\n", run.stderr
    assert run.returncode == 0


def test_a_server_that_dies_during_a_request_is_unavailable(restartable_server, png):
    def embed(protocol):
        with (
            Client(restartable_server.url(protocol), retries=0) as clip,
            pytest.raises(ServerUnavailable),
        ):
            clip.embed_images(b"sleep 30;" + png("red"))

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(embed, protocol) for protocol in ("grpc", "http")]
        time.sleep(0.5)
        restartable_server.kill()
    for call in calls:
        call.result()


def test_every_failure_has_one_base(url):
    with Client(url) as clip, pytest.raises(TritonClipError):
        clip.embed_texts([None])
