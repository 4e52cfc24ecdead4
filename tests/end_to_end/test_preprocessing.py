"""Servers whose preprocessing is not exact: near, said aloud, and as strict with bad input."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tritonclip import Client, ImageError
from tritonclip_export import samples, verify
from tritonclip_export.bundle import Bundle
from tritonclip_export.ports import Ports
from tritonclip_export.repository import assemble
from tritonclip_export.server import Server

PHOTOGRAPH = next(path for path in samples.sample_images() if path.suffix == ".jpg")


@pytest.fixture(scope="module")
def url(bundle: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the demo checkpoint with `--preprocess draft`."""
    repository = tmp_path_factory.mktemp("draft") / "repository"
    assemble([bundle("demo")], repository, runtime="python", preprocess="draft")
    with Server(repository, ports=Ports(0, 0, 0)) as server:
        yield server.grpc_url


def test_verify_names_the_mode_and_holds_it_to_its_own_tolerance(
    url: str, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle("demo").path, tmp_path / "demo")
    inputs = verify.Inputs.read(samples.sample_images(), samples.sample_texts())

    verified = verify.verify(Bundle.load(copy), inputs, server=url).bundle

    figures = {figure.stage: figure for figure in verified.info.parity}
    assert figures["pixels"].max_abs_error == 0
    assert "served image" not in figures
    served = figures["served (draft) image"]
    assert served.passed
    assert served.relative_to_spread is not None
    assert served.relative_to_spread > 1e-3


def test_only_large_jpegs_differ_from_exact(url: str, bundle: Callable[[str], Bundle]) -> None:
    png = io.BytesIO()
    Image.open(PHOTOGRAPH).save(png, "PNG")
    inputs = verify.Inputs((PHOTOGRAPH.read_bytes(), png.getvalue()), ("a photograph",))
    exact = verify.onnx_embeddings(bundle("demo"), verify.Batches.of(bundle("demo"), inputs))
    with Client(url) as client:
        assert client.info().preprocess == "draft"
        served = client.embed_images(inputs.images)
    assert 0.99 < served[0] @ exact.images[0] < 1 - 1e-5
    np.testing.assert_allclose(served[1], exact.images[1], atol=2e-6)


def test_a_truncated_jpeg_fails_alone(url: str) -> None:
    whole = PHOTOGRAPH.read_bytes()
    failed: list[ImageError] = []
    with Client(url) as client:
        vectors = client.embed_images([whole, whole[:3000], whole], on_error=failed.append)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert "truncated" in str(failed[0])
