"""A network that does its worst: each call ends with the right answer or a typed error, in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from faulty_proxy import FAULTS, Fault, answering, proxied
from tritonclip import (
    AsyncClient,
    Client,
    RequestTimeout,
    ServerError,
    ServerUnavailable,
    TritonClipError,
    WrongProtocol,
)

TEXTS = ["red", "a green one", "blue"]
TIMEOUT = 2.0


def embed(url: str) -> Any:
    with Client(url, model="demo", timeout=TIMEOUT) as client:
        return client.embed_texts(TEXTS)


def embed_asynchronously(url: str) -> Any:
    async def ask() -> Any:
        async with AsyncClient(url, model="demo", timeout=TIMEOUT) as client:
            return await client.embed_texts(TEXTS)

    return asyncio.run(ask())


Embed = Callable[[str], Any]
CLIENTS: list[Embed] = [embed, embed_asynchronously]


def through(fault: Fault, connections: int, server: Any) -> dict[str, Any]:
    """What each client gets over each protocol through a proxy of its own: vectors or an error."""

    def attempt(protocol: str, embed: Embed) -> Any:
        target = server.url(protocol).partition("://")[2]
        with proxied(target, fault, connections) as address:
            try:
                return embed(f"{protocol}://{address}")
            except TritonClipError as error:
                return error

    cases = [(protocol, embed) for protocol in ("grpc", "http") for embed in CLIENTS]
    with ThreadPoolExecutor(len(cases)) as callers:
        answers = callers.map(lambda case: attempt(*case), cases)
        return {
            f"{protocol}, {e.__name__}": a for (protocol, e), a in zip(cases, answers, strict=True)
        }


@pytest.mark.parametrize("fault", ["delays", "resets", "truncates", "half_closes"])
def test_what_goes_wrong_for_a_moment_costs_nothing(fault: str, server: Any) -> None:
    expected = embed(server.url("grpc"))

    for case, answer in through(FAULTS[fault], 2, server).items():
        np.testing.assert_array_equal(answer, expected, case)


@pytest.mark.parametrize("fault", ["drops", "resets", "truncates", "half_closes", "garbles"])
def test_what_stays_wrong_is_a_typed_error_in_time(fault: str, server: Any) -> None:
    start = time.monotonic()
    answers = through(FAULTS[fault], 10**9, server)

    assert time.monotonic() - start < TIMEOUT + 2
    for case, answer in answers.items():
        assert isinstance(answer, RequestTimeout | ServerUnavailable | WrongProtocol), case


def http(body: bytes, **headers: str) -> bytes:
    headers["Content_Length"] = str(len(body))
    lines = (f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return b"HTTP/1.1 200 OK\r\n" + "".join(lines).encode() + b"\r\n" + body


def tensor(shape: list[int], content: bytes, length: str | None = None) -> bytes:
    output = {"name": "EMBEDDING", "datatype": "FP32", "shape": shape}
    head = json.dumps({"outputs": [output]}).encode()
    return http(head + content, Inference_Header_Content_Length=length or str(len(head)))


STRANGE_HTTP = {
    "no JSON": http(b"\xff\xfe<html>"),
    "other JSON": http(b"[1, 2]"),
    "no outputs": http(b"{}"),
    "too few bytes": tensor([3, 4], bytes(40)),
    "too many bytes": tensor([3, 4], bytes(60)),
    "half a number": tensor([3, 4], bytes(47)),
    "another count": tensor([2, 4], bytes(32)),
    "a single number": tensor([], bytes(4)),
    "a length that is none": tensor([3, 4], bytes(48), "many"),
    "a length beyond the end": tensor([3, 4], bytes(48), "100000"),
    "a negative length": tensor([3, 4], bytes(48), "-5"),
}


@pytest.fixture
def informed(monkeypatch: pytest.MonkeyPatch, model_info: Any) -> None:
    """Clients know the model already, and ask for vectors at once."""

    def known(*_: object) -> Iterator[Any]:
        return model_info
        yield

    for client in ("client", "async_client"):
        monkeypatch.setattr(f"tritonclip.{client}.discover", known)


@pytest.mark.usefixtures("informed")
@pytest.mark.parametrize("answer", STRANGE_HTTP.values(), ids=STRANGE_HTTP.keys())
def test_http_that_is_not_tritons_is_a_typed_error(answer: bytes) -> None:
    for embed in CLIENTS:
        with answering(answer) as address, pytest.raises((ServerError, WrongProtocol)):
            embed(f"http://{address}")


@pytest.mark.parametrize("answer", STRANGE_HTTP.values(), ids=STRANGE_HTTP.keys())
def test_what_answers_the_first_question_strangely_is_not_taken_for_a_server(answer: bytes) -> None:
    for embed in CLIENTS:
        with answering(answer) as address, pytest.raises(TritonClipError):
            embed(f"http://{address}")


def grpc_tensor(shape: list[int], content: bytes) -> bytes:
    output = service_pb2.ModelInferResponse.InferOutputTensor(
        name="EMBEDDING", datatype="FP32", shape=shape
    )
    answer = service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[content])
    return bytes(answer.SerializeToString())


STRANGE_GRPC = {
    "no message": b"\xff\xff\xff",
    "an empty one": b"",
    "too few bytes": grpc_tensor([3, 4], bytes(40)),
    "half a number": grpc_tensor([3, 4], bytes(47)),
    "another count": grpc_tensor([2, 4], bytes(32)),
    "a single number": grpc_tensor([], bytes(4)),
}


@contextmanager
def answering_grpc(answer: bytes) -> Iterator[str]:
    """HOST:PORT of a gRPC server that gives every call this answer."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)

    with ThreadPoolExecutor(1) as workers:
        server = grpc.server(workers, [Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.usefixtures("informed")
@pytest.mark.parametrize("answer", STRANGE_GRPC.values(), ids=STRANGE_GRPC.keys())
def test_grpc_that_is_not_tritons_is_a_typed_error(answer: bytes) -> None:
    for embed in CLIENTS:
        with answering_grpc(answer) as address, pytest.raises(ServerError):
            embed(f"grpc://{address}")
