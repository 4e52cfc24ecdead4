"""What nobody should send: requests made up from the schema, half a request, much too much."""

from __future__ import annotations

import io
import json
import resource
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tritonclip_export.server.server import Server
from tritonclip_gateway.serving import HttpServer


@pytest.mark.slow
def test_no_request_that_the_schema_allows_or_forbids_is_a_bug_of_ours(
    gateway: HttpServer,
) -> None:
    import hypothesis
    import schemathesis
    from schemathesis.checks import not_a_server_error

    @schemathesis.serializer("application/x-ndjson")
    def lines_of_json(_: object, value: object) -> bytes:
        lines = value if isinstance(value, list) else [value]
        return b"".join(json.dumps(one).encode() + b"\n" for one in lines)

    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    tried = 0
    for operation in schema.get_all_operations():

        @hypothesis.given(case=operation.ok().as_strategy())
        @hypothesis.settings(
            max_examples=60,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(base_url=gateway.url, checks=[not_a_server_error])

        ask()
    assert tried > 500


def test_half_a_request_costs_nobody_else_anything(gateway: HttpServer) -> None:
    """Slow-loris: a hundred callers who never finish their headers, or their bodies."""
    address = gateway.url.removeprefix("http://").split(":")
    starts = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"inp',
    )
    open_ones = []
    try:
        for number in range(100):
            connection = socket.create_connection((address[0], int(address[1])))
            connection.sendall(starts[number % 2])
            open_ones.append(connection)
        began = time.monotonic()
        answer = httpx.post(f"{gateway.url}/v1/embeddings", json={"input": "a cat"}, timeout=10)
        assert answer.status_code == 200
        assert time.monotonic() - began < 5
    finally:
        for connection in open_ones:
            connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(("connections", "files"), [(10_000, 20_000), (400, 256)])
def test_ten_thousand_connections_are_held_and_those_beyond_the_limit_of_files_do_no_harm(
    connections: int, files: int, server: Server, environment: dict[str, str]
) -> None:
    """Each with half a request."""
    command = [
        *(str(Path(sys.executable).with_name("tritonclip")), "gateway", "--json", "--port", "0"),
        *("--triton", server.grpc_url, "--default-model", "demo", "--log-level", "warning"),
    ]
    limited = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )
    process = psutil.Process(limited.pid)
    with limited, ExitStack() as closed:
        closed.callback(limited.terminate)
        url = json.loads(limited.stdout.readline())["http"]
        host, port = url.removeprefix("http://").split(":")

        def answers() -> bool:
            began = time.monotonic()
            with suppress(httpx.RemoteProtocolError):
                asked = httpx.post(f"{url}/v1/embeddings", json={"input": "a cat"}, timeout=10)
                return asked.status_code == 200 and time.monotonic() - began < 5
            return False

        assert answers()
        before = process.memory_info().rss
        with ExitStack() as open_ones:
            for _ in range(connections):
                connection = socket.create_connection((host, int(port)))
                open_ones.enter_context(connection)
                connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-")
            assert answers() == (connections < files)
            # 55 MiB for 10,000 when this was written.
            assert process.memory_info().rss - before < 120 * 2**20
        end = time.monotonic() + 10
        while process.num_fds() > 100:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert answers()


def test_a_body_that_does_not_arrive_is_given_up(
    start: Callable[..., Any], gateway: HttpServer
) -> None:
    with start(triton=gateway.gateway.settings.triton, timeout=0.5) as impatient:
        host, port = impatient.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"inp'
            )
            answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_picture_that_claims_to_be_enormous_is_refused_and_not_decoded(
    http: httpx.Client,
) -> None:
    """A bomb: 60,000 x 60,000 pixels in ten kilobytes."""
    import base64
    import struct

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    png = io.BytesIO()
    png.write(b"\x89PNG\r\n\x1a\n")
    png.write(chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)))
    png.write(chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9)))
    png.write(chunk(b"IEND", b""))
    uri = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    began = time.monotonic()
    answer = http.post("/v1/embeddings", json={"input": ["a cat", uri]})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_image", "input[1]")
    assert "pixels" in error["message"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "body",
    [
        "[" * 200_000 + "]" * 200_000,
        '{"input":' * 100_000 + "1" + "}" * 100_000,
        '{"input":' + "1" * 100_000 + "}",
        '{"input": "café"}'.encode("latin-1"),
    ],
    ids=["lists", "objects", "digits", "latin-1"],
)
def test_json_that_no_reader_should_finish_is_refused_with_the_reason(
    body: str | bytes, http: httpx.Client
) -> None:
    answer = http.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_json")
    assert "nested too deep, or has a number of thousands of digits" in error["message"]


def test_a_body_that_is_compressed_is_not_unpacked(http: httpx.Client) -> None:
    bomb = zlib.compress(b" " * 50_000_000)
    answer = http.post(
        "/v1/embeddings",
        content=bomb,
        headers={"Content-Encoding": "deflate", "Content-Type": "application/json"},
    )
    assert answer.status_code == 400


def test_a_gigabyte_is_turned_away_after_its_first_part(
    start: Callable[..., Any], gateway: HttpServer
) -> None:
    sent = 0

    def gigabyte() -> Any:
        nonlocal sent
        for _ in range(1024):
            sent += 2**20
            yield bytes(2**20)

    with start(triton=gateway.gateway.settings.triton, max_body_bytes=2**20) as small:
        try:
            answer = httpx.post(f"{small.url}/v1/embeddings", content=gigabyte(), timeout=30)
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # the connection was closed while we were still sending
        assert httpx.get(f"{small.url}/health/live").status_code == 200
    assert sent < 64 * 2**20
