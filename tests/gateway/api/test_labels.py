"""`/v1/classify` and `/v1/similarity`."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import numpy as np
import pytest

from tritonclip import Client
from tritonclip_gateway.inputs.items import PIXEL


@pytest.mark.parametrize("model", ["demo", "siglip"])
def test_probabilities_are_those_of_the_client(
    http: httpx.Client,
    server: object,
    model: str,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    labels = ["cat", "dog", "rocket"]
    body = {"model": model, "images": [data_uri("cat"), data_uri("dog")], "labels": labels}

    answer = http.post("/v1/classify", json={**body, "top": 2}).json()

    with Client(server.grpc_url, model=model) as client:
        expected = client.classify([twemoji["cat"], twemoji["dog"]], labels)
    for each, result in zip(answer["data"], expected, strict=True):
        found = [(label["label"], label["probability"]) for label in each["labels"]]
        assert [name for name, _ in found] == [name for name, _ in result.top(2)]
        assert [p for _, p in found] == pytest.approx([p for _, p in result.top(2)], abs=1e-6)


def test_similarities_are_cosines(
    http: httpx.Client, triton: Client, twemoji: dict[str, bytes], data_uri: Callable[[str], str]
) -> None:
    body = {"images": [data_uri("cat"), data_uri("dog")], "texts": ["a cat", "a dog", "a key"]}

    answer = http.post("/v1/similarity", json=body).json()

    scores = np.array([each["scores"] for each in answer["data"]])
    expected = triton.similarity([twemoji["cat"], twemoji["dog"]], body["texts"])
    assert np.abs(scores - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/classify", {"images": ["AAAA"], "labels": ["a"]}, "invalid_image"),
        ("/v1/classify", {"images": ["AAAA"], "labels": []}, "invalid_request"),
        ("/v1/classify", {"images": [], "labels": ["a"]}, "invalid_request"),
        (
            "/v1/classify",
            {"images": [PIXEL], "labels": ["a"], "templates": "x"},
            "invalid_request",
        ),
        ("/v1/similarity", {"images": ["AAAA"], "texts": ["a"]}, "invalid_image"),
        ("/v1/similarity", {"images": ["AAAA"]}, "invalid_request"),
    ],
)
def test_what_cannot_be_is_refused(
    http: httpx.Client, path: str, body: dict[str, object], code: str
) -> None:
    response = http.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
