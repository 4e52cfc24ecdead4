"""`/v1/embeddings`, asked by OpenAI's own client and as the clients of others ask."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai as openai_package
import pytest
from openai import AsyncOpenAI, OpenAI

from tritonclip import Client
from tritonclip_gateway.serving import HttpServer

LONG = "a picture of a very small cat that sleeps on a big red sofa beside the window. " * 4


def post(http: httpx.Client, **body: object) -> dict[str, Any]:
    response = http.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def failure(http: httpx.Client, **body: object) -> dict[str, Any]:
    response = http.post("/v1/embeddings", json=body)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def vectors(answer: dict[str, Any]) -> np.ndarray:
    assert [each["index"] for each in answer["data"]] == list(range(len(answer["data"])))
    return np.array([each["embedding"] for each in answer["data"]], np.float32)


def test_openais_client_gets_what_the_direct_path_gives(openai: OpenAI, triton: Client) -> None:
    texts = ["a cat", "a rocket in the sky", ""]

    answer = openai.embeddings.create(model="clip", input=texts)  # as base64, without being told
    floats = openai.embeddings.create(model="demo", input=texts, encoding_format="float")
    one = openai.embeddings.create(model="demo", input="a cat", dimensions=192)

    assert [each.embedding for each in answer.data] == triton.embed_texts(texts).tolist()
    assert np.abs(vectors(floats.model_dump()) - triton.embed_texts(texts)).max() < 1e-7
    assert np.abs(np.array(one.data[0].embedding) - triton.embed_texts("a cat")).max() < 1e-6
    assert (answer.model, answer.object, answer.data[2].index) == ("demo", "list", 2)
    assert (
        answer.usage.prompt_tokens == sum(triton.count_tokens(texts)) == answer.usage.total_tokens
    )


async def test_openais_asynchronous_client_works_too(gateway: HttpServer, triton: Client) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused") as client:
        answer = await client.embeddings.create(model="demo", input=["a dog"])
    assert answer.data[0].embedding == triton.embed_texts(["a dog"])[0].tolist()


@pytest.mark.slow
def test_openais_client_for_node_works_too(
    gateway: HttpServer, triton: Client, tmp_path: Path
) -> None:
    subprocess.run(["npm", "install", "--silent", "openai@5"], cwd=tmp_path, check=True)
    script = """
        import OpenAI from "openai";
        const client = new OpenAI({baseURL: process.argv[2] + "/v1", apiKey: "unused"});
        const answer = await client.embeddings.create({model: "clip", input: ["a cat", "a dog"]});
        const list = await client.models.list();
        let refused = "";
        try { await client.embeddings.create({model: "nothing", input: "a cat"}); }
        catch (error) { refused = error.status + " " + error.code; }
        console.log(JSON.stringify({
            vectors: answer.data.map(each => Array.from(each.embedding)),
            tokens: answer.usage.total_tokens, models: list.data.map(each => each.id), refused,
        }));
    """
    (tmp_path / "ask.mjs").write_text(script)

    done = subprocess.run(
        ["node", "ask.mjs", gateway.url], cwd=tmp_path, check=True, capture_output=True
    )

    found = httpx.Response(200, content=done.stdout).json()
    assert np.array_equal(
        np.array(found["vectors"], np.float32), triton.embed_texts(["a cat", "a dog"])
    )
    assert found["tokens"] == sum(triton.count_tokens(["a cat", "a dog"]))
    assert {"clip", "demo", "siglip"} <= set(found["models"])
    assert found["refused"] == "404 model_not_found"


def test_nims_mixture_of_texts_and_pictures_keeps_its_order(
    http: httpx.Client,
    triton: Client,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    answer = post(
        http, model="demo", input=[data_uri("cat"), "a cat", data_uri("dog"), "data: a text"]
    )

    images = triton.embed_images([twemoji["cat"], twemoji["dog"]])
    texts = triton.embed_texts(["a cat", "data: a text"])
    expected = [images[0], texts[0], images[1], texts[1]]
    assert np.abs(vectors(answer) - np.array(expected)).max() < 1e-6
    assert answer["usage"]["num_images"] == 2
    assert answer["usage"]["prompt_tokens"] == sum(triton.count_tokens(["a cat", "data: a text"]))


def test_infinity_and_jina_name_pictures_in_their_own_ways(
    http: httpx.Client,
    triton: Client,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    uri = data_uri("rocket")
    bare = uri.partition(",")[2]

    infinity = post(http, model="demo", modality="image", input=[uri])
    jina = post(
        http,
        model="demo",
        task="retrieval.query",
        normalized=True,
        embedding_type="float",
        input=[{"image": bare}, {"text": uri}, {"image": uri}],
        truncate=True,
    )
    forced = post(http, model="demo", modality="text", input=uri, truncate="END")

    image = triton.embed_images(twemoji["rocket"])
    text = triton.embed_texts(uri)
    assert np.abs(vectors(infinity) - image).max() < 1e-6
    assert np.abs(vectors(jina) - np.array([image, text, image])).max() < 1e-6
    assert np.abs(vectors(forced) - text).max() < 1e-6


def test_a_text_beyond_the_context_is_refused_cut_or_embedded_in_parts(
    http: httpx.Client, triton: Client
) -> None:
    (count,) = triton.count_tokens([LONG])

    error = failure(http, model="demo", input=["a cat", LONG])
    cut = post(http, model="demo", input=LONG, truncate=True)
    parts = post(http, model="demo", input=LONG, long="mean")

    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")
    assert f"{count} tokens" in error["message"]
    assert "context is 32" in error["message"]
    assert np.abs(vectors(cut) - triton.embed_texts(LONG)).max() < 1e-6
    assert cut["usage"]["prompt_tokens"] == 32
    assert np.abs(vectors(parts) - triton.embed_texts(LONG, long="mean")).max() < 1e-6
    assert parts["usage"]["prompt_tokens"] == count


def test_all_bad_items_are_named_by_their_index(
    http: httpx.Client, data_uri: Callable[[str], str]
) -> None:
    garbage = "data:image/png;base64,Z2FyYmFnZQ=="
    error = failure(
        http,
        model="demo",
        input=["a cat", garbage, data_uri("cat"), {"image": "%%%"}, {"image": "http://1.2.3.4/x"}],
    )

    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == ("invalid_image", "input[1]")
    assert [(item["index"], item["code"]) for item in error["items"]] == [
        (1, "invalid_image"),
        (3, "invalid_image"),
        (4, "url_refused"),
    ]
    assert "not a supported image" in error["items"][0]["message"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"input": "x", "dimensions": 64}, "dimensions_not_supported", "gives 192 dimensions"),
        ({"input": [[15339, 1917]]}, "invalid_request", "check_embedding_ctx_length"),
        ({"input": []}, "invalid_request", "input has 0 items"),
        ({"input": ["x"] * 2049}, "invalid_request", "send 1 to 2,048"),
        ({}, "invalid_request", "Field required"),
        ({"input": "x", "encoding_format": "int8"}, "invalid_request", "'float' or 'base64'"),
        ({"input": "x", "normalized": False}, "invalid_request", "True"),
        ({"input": {"audio": "x"}}, "invalid_request", "input"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    http: httpx.Client, body: dict[str, object], code: str, message: str
) -> None:
    error = failure(http, **body)
    assert error["code"] == code
    assert message in error["message"]


def test_errors_reach_openais_client_as_its_own(openai: OpenAI) -> None:
    with pytest.raises(openai_package.NotFoundError) as caught:
        openai.embeddings.create(model="text-embedding-3-small", input="a cat")
    assert caught.value.code == "model_not_found"
    assert "there are: chinese_clip, clip, demo, resnet, siglip" in caught.value.message


def test_a_body_that_is_not_json_or_too_deep_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for body in ("", "{", '{"input": ' + "[" * 100_000, "[" * 100_000 + "]" * 100_000):
        response = http.post("/v1/embeddings", content=body, headers=headers)
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused_also_if_it_does_not_say_its_size(
    start: Callable[..., Any], gateway: HttpServer
) -> None:
    with start(triton=gateway.gateway.settings.triton, max_body_bytes=10_000) as small:
        for content in (b" " * 10_001, iter([b" " * 6_000] * 2)):
            response = httpx.post(f"{small.url}/v1/embeddings", content=content)
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"


def test_the_default_model_is_asked_where_none_is_named(http: httpx.Client, triton: Client) -> None:
    answer = post(http, input="a cat")
    assert answer["model"] == "demo"
    assert np.abs(vectors(answer)[0] - triton.embed_texts("a cat")).max() < 1e-6
