"""`/v1/moderations`, asked by OpenAI's client, and `/v1/heads/NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI
from safetensors.numpy import save_file

from tritonclip import Client
from tritonclip_gateway.serving import HttpServer
from tritonclip_search.policy import decide, load, prepare

POLICY = """\
name: emoji-shop
neutral: [an animal, a plant, a building, a rocket, a person, a round fruit, a key]
rules:
  - name: weapon
    any: [a dagger, crossed swords]
    unless: [a kitchen knife]
    action: block
  - name: food
    any: [a lemon, sushi]
    action: label
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "shop.yaml"
    file.write_text(POLICY)
    return file


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Of a linear head."""
    return np.random.default_rng(3).normal(size=192).astype(np.float32)


@pytest.fixture(scope="module")
def deciding(
    start: Callable[..., Any], gateway: HttpServer, policy: Path, weights: np.ndarray
) -> Iterator[HttpServer]:
    """A gateway with a policy and a head."""
    file = policy.with_name("aesthetic.safetensors")
    save_file({"weight": weights[None], "bias": np.array([0.5], np.float32)}, str(file))
    with start(
        triton=gateway.gateway.settings.triton,
        default_model="demo",
        policy=policy,
        heads={"aesthetic": file},
    ) as started:
        yield started


def test_openais_client_is_told_what_the_policy_decides(
    deciding: HttpServer,
    policy: Path,
    triton: Client,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    names = ["dagger", "lemon", "cat"]
    parts = [{"type": "image_url", "image_url": {"url": data_uri(name)}} for name in names]
    with OpenAI(base_url=f"{deciding.url}/v1", api_key="unused") as client:
        answer = client.moderations.create(model="demo", input=parts)

    decisions = decide(
        prepare(load(policy), triton), triton.embed_images([twemoji[name] for name in names])
    )
    assert [result.flagged for result in answer.results] == [True, False, False]
    for result, decision in zip(answer.results, decisions, strict=True):
        found = result.model_dump()
        assert found["decision"] == decision.action.value
        assert found["rule"] == decision.rule
        assert found["categories"]["weapon"] == decision.evidence[0].applies
        scores = [found["category_scores"][name] for name in ("weapon", "food")]
        expected = [evidence.probability for evidence in decision.evidence]
        assert scores == pytest.approx(expected, abs=1e-5)
    assert answer.results[0].model_dump()["evidence"][0]["prompt"] in ("a dagger", "crossed swords")


def test_texts_are_not_decided_on(deciding: HttpServer) -> None:
    body = {"input": [{"type": "text", "text": "a dagger"}]}
    answer = httpx.post(f"{deciding.url}/v1/moderations", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "text_not_supported"


def test_a_head_gives_its_scores(
    deciding: HttpServer,
    weights: np.ndarray,
    triton: Client,
    twemoji: dict[str, bytes],
    data_uri: Callable[[str], str],
) -> None:
    body = {"images": [data_uri("cat"), data_uri("dog")]}
    answer = httpx.post(f"{deciding.url}/v1/heads/aesthetic", json=body).json()
    expected = triton.embed_images([twemoji["cat"], twemoji["dog"]]) @ weights + 0.5
    assert answer["output"] == "score"
    assert [each["scores"]["aesthetic"] for each in answer["data"]] == pytest.approx(
        expected.tolist(), abs=1e-5
    )


def test_what_is_not_there_or_does_not_fit_is_said(
    deciding: HttpServer, http: httpx.Client, data_uri: Callable[[str], str]
) -> None:
    images = {"images": [data_uri("cat")]}
    other = httpx.post(f"{deciding.url}/v1/heads/aesthetic", json={**images, "model": "siglip"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "head_mismatch")
    none = httpx.post(f"{deciding.url}/v1/heads/beauty", json=images)
    assert (none.status_code, none.json()["error"]["code"]) == (404, "head_not_found")
    without = http.post("/v1/moderations", json={"input": data_uri("cat")})
    assert (without.status_code, without.json()["error"]["code"]) == (404, "no_policy")
