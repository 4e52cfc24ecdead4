"""`/v1/models` and `/health`."""

from __future__ import annotations

import httpx
from openai import OpenAI


def test_openais_client_lists_bundles_and_aliases(openai: OpenAI) -> None:
    found = {model.id: model for model in openai.models.list()}
    assert sorted(found) == ["chinese_clip", "clip", "demo", "resnet", "siglip"]
    assert found["clip"].model_dump()["root"] == "demo"
    one = openai.models.retrieve("demo").model_dump()
    assert (one["dimensions"], one["context_length"], one["similarity"]) == (192, 32, "softmax")


def test_a_gateway_is_ready_when_its_models_are(http: httpx.Client) -> None:
    response = http.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["models"]["demo"] is True
    for path in ("/health/live", "/v1/health/live", "/v1/health/ready", "/health"):
        assert http.get(path).status_code == 200


def test_the_documentation_needs_nobody_else(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "cdn" not in page
    assert http.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    schema = http.get("/openapi.json").json()
    examples = schema["components"]["schemas"]["EmbeddingsRequest"]["examples"]
    for example in examples:
        assert http.post("/v1/embeddings", json=example).status_code == 200


def test_what_is_not_there_is_said_in_the_same_shape(http: httpx.Client) -> None:
    assert http.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert http.put("/v1/models").json()["error"]["code"] == "method_not_allowed"
