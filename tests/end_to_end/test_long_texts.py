"""Texts beyond the context length: nothing of them is lost when the caller says so."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tritonclip import AsyncClient, Client, InvalidArgument, TextError
from tritonclip_export.bundle import Bundle
from tritonclip_export.served.code import text_transform
from tritonclip_export.server.server import Server

SHORT = ["a cat", "", "two sentences. in one window."]
# Two windows of which each ends with a sentence, for contexts of 20 (SigLIP's) and 32 tokens; a
# tokenizer that drops punctuation cuts at the word instead.
LONG = "the first half of this text is about a cat. " * 4 + "the second one is about a rocket. " * 4


@pytest.fixture(scope="module", params=["grpc", "http"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    return server.grpc_url if request.param == "grpc" else f"http://{server.http_url}"


@pytest.mark.parametrize("name", ["demo", "siglip", "resnet", "chinese_clip"])
def test_tokens_are_counted_beyond_the_context(
    name: str, url: str, bundle: Callable[[str], Bundle]
) -> None:
    text = bundle(name).info.text
    whole = text_transform(text, bundle(name).path)
    whole.tokenizer.no_truncation()
    texts = ["a cat", "", LONG, LONG * 5]
    with Client(url, model=name, batch_size=3) as client:
        counts = client.count_tokens(texts)
        assert client.count_tokens(iter([])) == []
        assert client.models() == ["chinese_clip", "demo", "resnet", "siglip"]
    assert counts == [len(ids) for ids in whole.encode(texts)]
    assert counts[0] < text.context_length < counts[2] < counts[3]


@pytest.mark.parametrize("name", ["demo", "siglip", "resnet"])
def test_a_text_that_fits_has_the_vector_that_it_always_has(name: str, url: str) -> None:
    with Client(url, model=name) as client:
        plain = client.embed_texts(SHORT)
        mean = client.embed_texts(SHORT, long="mean")
        windows = client.embed_windows(SHORT)
        one = client.embed_texts(SHORT[0], long="mean")
    assert np.abs(plain - mean).max() < 1e-6
    assert [w.shape for w in windows] == [(1, plain.shape[1])] * 3
    assert np.abs(plain - np.concatenate(windows)).max() < 1e-6
    assert one.shape == plain[0].shape


def test_a_long_text_is_the_mean_of_its_sentences(url: str) -> None:
    sentences = [
        "a picture of a small red rocket that flies to the moon and back, far from the town.",
        "a drawing of two very happy cats that sleep under the big old christmas tree today.",
    ]
    with Client(url, model="demo") as client:
        parts = client.embed_texts(sentences)
        (windows,) = client.embed_windows([" ".join(sentences)])
        mean = client.embed_texts(" ".join(sentences), long="mean")
        cut = client.embed_texts(" ".join(sentences))
    assert np.abs(windows - parts).max() < 1e-6
    expected = parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0))
    assert np.abs(mean - expected).max() < 1e-6
    assert cut @ parts[1] < mean @ parts[1]


def test_texts_of_all_lengths_travel_together(url: str) -> None:
    texts = [*SHORT, LONG, "a dog", LONG * 3]
    with Client(url, model="siglip", batch_size=4) as client:
        together = client.embed_windows(texts)
        alone = [client.embed_windows([text])[0] for text in texts]
        streamed = list(client.stream_texts(texts, long="mean"))
    for a, b in zip(together, alone, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() < 1e-6
    assert [len(windows) for windows in together[:3]] == [1, 1, 1]
    assert len(together[3]) < len(together[5])
    for vector, windows in zip(streamed, together, strict=True):
        total = windows.sum(axis=0)
        assert np.abs(vector - total / np.linalg.norm(total)).max() < 1e-6


def test_a_text_that_is_a_book_costs_only_itself(url: str) -> None:
    texts = ["a cat", "word " * 20_000, "a dog"]
    errors: list[TextError] = []
    with Client(url, model="demo") as client:
        vectors = client.embed_texts(texts, long="mean", on_error=errors.append)
        windows = client.embed_windows(texts, on_error=lambda _: None)
        with pytest.raises(TextError, match=r"text 1 .*over the limit of 256"):
            client.embed_texts(texts, long="mean")
    assert [error.index for error in errors] == [1]
    assert np.isnan(vectors[1]).all()
    assert np.isfinite(vectors[[0, 2]]).all()
    assert np.isnan(windows[1]).all()


def test_the_asynchronous_client_does_the_same(url: str) -> None:
    async def embed() -> tuple[np.ndarray, list[np.ndarray]]:
        async with AsyncClient(url, model="demo") as client:
            return await client.embed_texts([LONG], long="mean"), await client.embed_windows([LONG])

    mean, windows = asyncio.run(embed())
    with Client(url, model="demo") as client:
        assert np.abs(mean - client.embed_texts([LONG], long="mean")).max() < 1e-6
        assert np.abs(windows[0] - client.embed_windows([LONG])[0]).max() < 1e-6


def test_another_word_than_cut_and_mean_is_refused(url: str) -> None:
    with Client(url, model="demo") as client, pytest.raises(InvalidArgument, match="'max'"):
        client.embed_texts(["a cat"], long="max")  # type: ignore[arg-type]


def test_embed_takes_long_texts(server: Server, environment: dict[str, str]) -> None:
    command = [Path(sys.executable).with_name("tritonclip"), "embed", "--text", LONG]
    asked = [*command, "--long", "mean", "--url", server.grpc_url, "--model", "demo"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with Client(server.grpc_url, model="demo") as client:
        expected = client.embed_texts(LONG, long="mean")
    assert np.abs(np.array(json.loads(done.stdout)["embedding"]) - expected).max() < 1e-6
