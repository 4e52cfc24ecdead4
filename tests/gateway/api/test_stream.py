"""`/v1/embeddings/stream`: lines in, lines out, in constant memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import httpx
import numpy as np

from tritonclip import Client
from tritonclip_gateway.serving import HttpServer

PATH = "/v1/embeddings/stream"
NDJSON = {"Content-Type": "application/x-ndjson"}


def test_each_line_is_answered_in_order_and_a_bad_one_alone(
    http: httpx.Client,
    triton: Client,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    lines = ['"a cat"', '{"text": "a dog"}', data_uri("cat").join('""'), "{", '{"image": "%"}']
    lines += [json.dumps(f"picture number {i}") for i in range(40)] + ["", '"a rocket " ']
    long = json.dumps("a cat and a dog " * 30)

    response = http.post(PATH, content="\n".join([*lines, long]).encode(), headers=NDJSON)

    *answers, last = map(json.loads, response.text.splitlines())
    texts = ["a cat", "a dog", *(f"picture number {i}" for i in range(40)), "a rocket "]
    assert [answer["index"] for answer in answers] == list(range(47))
    failed = {a["index"]: a["error"]["code"] for a in answers if "error" in a}
    assert failed == {3: "invalid_request", 4: "invalid_image", 46: "context_length_exceeded"}
    vectors = [a["embedding"] for a in answers if "embedding" in a]
    expected = triton.embed_texts(texts)
    assert np.abs(np.array([*vectors[:2], *vectors[3:]]) - expected).max() < 1e-6
    assert np.abs(vectors[2] - triton.embed_images(twemoji["cat"])).max() < 1e-6
    assert last["model"] == "demo"
    assert last["usage"]["num_images"] == 1
    assert last["usage"]["prompt_tokens"] == sum(triton.count_tokens(texts)) + 32


async def test_answers_come_while_lines_are_still_being_sent(gateway: HttpServer) -> None:
    answered = 0
    has_begun = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        for i in range(1_000):
            if i == 200:
                await asyncio.wait_for(has_begun.wait(), 30)
            yield json.dumps(f"text {i}").encode() + b"\n"

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}{PATH}", data=lines(), headers=NDJSON) as response,
    ):
        async for line in response.content:
            has_begun.set()
            answered += b'"embedding"' in line

    assert answered == 1_000


def test_a_line_without_end_is_refused(start: Callable[..., object], gateway: HttpServer) -> None:
    triton = gateway.gateway.settings.triton
    with start(triton=triton, default_model="demo", max_body_bytes=10_000) as small:
        response = httpx.post(
            f"{small.url}{PATH}", content=b'"a cat"\n"' + b"x" * 20_000, headers=NDJSON
        )
    first, last = map(json.loads, response.text.splitlines())
    assert first["index"] == 0
    assert last["error"]["code"] == "request_too_large"
