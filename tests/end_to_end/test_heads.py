"""Heads served beside the embeddings: the same numbers as here, in both protocols and clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from typer.testing import CliRunner

from tritonclip import AsyncClient, Client, ImageError, ModelMismatch
from tritonclip_cli import app
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import RepositoryError
from tritonclip_export.samples import sample_images
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_search.heads.file import to_bytes
from tritonclip_search.heads.head import Head, Layer

IMAGES = [path.read_bytes() for path in sample_images()]


@dataclass(frozen=True)
class Served:
    server: Server
    heads: dict[str, Head]


def head_of(name: str, widths: tuple[int, ...], output: str, labels: tuple[str, ...]) -> Head:
    random = np.random.default_rng(len(name))
    layers = tuple(
        Layer(
            random.normal(size=(after, before)).astype(np.float32),
            random.normal(size=after).astype(np.float32),
            relu=place + 2 < len(widths),
        )
        for place, (before, after) in enumerate(pairwise(widths))
    )
    return Head(name, labels, layers, output, "tritonclip")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def served(
    bundle: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("heads")
    heads = {
        "taste": head_of("taste", (192, 32, 1), "score", ("taste",)),
        "kind": head_of("kind", (192, 3), "softmax", ("cat", "dog", "rocket")),
        "safe": head_of("safe", (192, 1), "sigmoid", ("safe",)),
    }
    options = []
    for name, head in heads.items():
        (folder / f"{name}.safetensors").write_bytes(to_bytes(head))
        options += ["--head", str(folder / f"{name}.safetensors")]
    repository = folder / "repository"
    arguments = ["assemble", str(bundle("demo").path), "--output", str(repository), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    with Server(repository, ports=Ports(0, 0, 0)) as server:
        yield Served(server, heads)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_scores_are_those_of_the_heads_here(served: Served, protocol: str) -> None:
    server = served.server
    url = server.grpc_url if protocol == "grpc" else f"http://{server.http_url}"
    with Client(url, batch_size=5) as client:
        vectors = client.embed_images(IMAGES)
        scores = client.score_images(IMAGES)
        one = client.score_images(IMAGES[0])
        names = client.info().scores
    async with AsyncClient(url) as waiting:
        alike = await waiting.score_images(IMAGES)

    expected = np.concatenate([head.scores(vectors) for head in served.heads.values()], axis=1)
    assert names == ("taste", "kind/cat", "kind/dog", "kind/rocket", "safe")
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alike, scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one, scores[0], rtol=1e-5, atol=1e-5)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 1:4].sum(axis=1), 1, atol=1e-5)


def test_one_request_gives_the_embedding_and_the_scores(served: Served) -> None:
    triton = triton_grpc.InferenceServerClient(served.server.grpc_url)
    image = triton_grpc.InferInput("IMAGE", [1, 1], "BYTES")
    image.set_data_from_numpy(np.array([[IMAGES[0]]], dtype=object))
    answer = triton.infer("demo_image_scores", [image])
    with Client(served.server.grpc_url) as client:
        np.testing.assert_allclose(
            answer.as_numpy("EMBEDDING"), client.embed_images([IMAGES[0]]), atol=1e-6
        )
    assert answer.as_numpy("SCORES").shape == (1, 5)
    triton.close()


def test_a_bad_image_has_no_score_and_costs_only_itself(served: Served) -> None:
    failed: list[ImageError] = []
    with Client(served.server.grpc_url) as client:
        scores = client.score_images([IMAGES[0], b"nothing", IMAGES[1]], on_error=failed.append)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="image 0"):
            client.score_images([b"nothing"])
        assert client.score_images([]).shape == (0, 5)
    assert [error.index for error in failed] == [1]
    assert np.isnan(scores[1]).all()
    assert np.isfinite(scores[[0, 2]]).all()


def test_a_model_without_heads_says_how_to_add_one(server: Server) -> None:
    with (
        Client(server.grpc_url, model="demo") as client,
        pytest.raises(ModelMismatch, match="serves no heads; add one with `tritonclip assemble"),
    ):
        client.score_images(IMAGES[:1])


def test_heads_that_do_not_fit_are_refused(bundle: Callable[[str], Bundle], tmp_path: Path) -> None:
    def assemble(*heads: str) -> None:
        options = [option for head in heads for option in ("--head", head)]
        path = str(bundle("demo").path)
        done = CliRunner().invoke(app, ["assemble", path, "-o", str(tmp_path / "r"), *options])
        if done.exception is not None:
            raise done.exception

    wide, twice = tmp_path / "wide.safetensors", tmp_path / "b" / "taste.safetensors"
    taste = tmp_path / "taste.safetensors"
    twice.parent.mkdir()
    wide.write_bytes(to_bytes(head_of("wide", (768, 1), "score", ("wide",))))
    for file in (taste, twice):
        file.write_bytes(to_bytes(head_of("taste", (192, 1), "score", ("taste",))))
    with pytest.raises(RepositoryError, match=r"'wide' takes vectors of 768.*demo \(192\)"):
        assemble(str(wide))
    with pytest.raises(RepositoryError, match="two heads give 'taste'"):
        assemble(str(taste), str(twice))
    assert not (tmp_path / "r").exists()
    assemble(str(taste))
    before = json.dumps(sorted(str(path) for path in (tmp_path / "r").rglob("*")))
    assemble(str(taste))
    assert json.dumps(sorted(str(path) for path in (tmp_path / "r").rglob("*"))) == before
