"""Preprocessing that is not exact: near, said aloud, and as strict with bad input."""

import importlib.util
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from image_files import oriented
from tritonclip import Client, ImageError
from tritonclip_export import samples
from tritonclip_export.bundle import Bundle
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.served.parameters import Preprocess
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_export.verification.verify import verify

PHOTOGRAPH = next(path for path in samples.sample_images() if path.suffix == ".jpg")


DALI = importlib.util.find_spec("nvidia.dali") if importlib.util.find_spec("nvidia") else None
MODES: tuple[Preprocess, ...] = ("draft", "dali")


@pytest.fixture(scope="module")
def url(bundle: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the demo checkpoint once for each mode, whose name it has,
    and once as `upright`, turning by EXIF orientation."""
    repository = tmp_path_factory.mktemp("modes") / "repository"
    for mode in MODES if DALI else MODES[:1]:
        named = bundle("demo").with_info(name=mode)
        assemble([named], repository, runtime="python", preprocess=mode)
    upright = bundle("demo").with_info(name="upright")
    assemble([upright], repository, runtime="python", orient=True)
    with Server(repository, ports=Ports(0, 0, 0)) as server:
        yield server.grpc_url


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Preprocess:
    if request.param == "dali" and not DALI:
        pytest.skip("DALI is not installed")
    return request.param


def test_verify_names_the_mode_and_holds_it_to_its_own_tolerance(
    url: str, mode: Preprocess, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle("demo").path, tmp_path / "demo")
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())

    verified = verify(Bundle.load(copy).with_info(name=mode), inputs, server=url).bundle

    figures = {figure.stage: figure for figure in verified.info.parity}
    assert figures["pixels"].max_abs_error == 0
    assert "served image" not in figures
    served = figures[f"served ({mode}) image"]
    assert served.passed
    assert served.relative_to_spread is not None
    assert served.relative_to_spread > 1e-3


def test_only_jpegs_differ_from_exact(
    url: str, mode: Preprocess, bundle: Callable[[str], Bundle]
) -> None:
    png = io.BytesIO()
    Image.open(PHOTOGRAPH).save(png, "PNG")
    inputs = Inputs((PHOTOGRAPH.read_bytes(), png.getvalue()), ("a photograph",))
    exact = onnx_embeddings(bundle("demo"), Batches.of(bundle("demo"), inputs))
    with Client(url, model=mode) as client:
        assert client.info().preprocess == mode
        served = client.embed_images(inputs.images)
    assert served[0] @ exact.images[0] > 0.99
    assert np.abs(served[0] - exact.images[0]).max() > 1e-5
    np.testing.assert_allclose(served[1], exact.images[1], atol=2e-6)


@pytest.mark.parametrize("hollow", [False, True])
def test_a_damaged_jpeg_fails_alone(hollow: bool, url: str, mode: Preprocess) -> None:
    whole = PHOTOGRAPH.read_bytes()
    scan = whole.index(b"\xff\xda")
    damaged = whole[:scan] + b"\xff\xd9" if hollow else whole[: scan + 3000]
    failed: list[ImageError] = []
    with Client(url, model=mode) as client:
        vectors = client.embed_images([whole, damaged, whole], on_error=failed.append)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert "cannot be decoded" in str(failed[0])


def test_a_server_that_orients_says_so_and_verify_expects_it(
    url: str, bundle: Callable[[str], Bundle], tmp_path: Path, environment: dict[str, str]
) -> None:
    lying = tmp_path / "phone.jpg"
    lying.write_bytes(oriented(6))
    png = io.BytesIO()
    ImageOps.exif_transpose(Image.open(lying)).save(png, "PNG")

    with Client(url, model="upright") as client:
        turned, expected = client.embed_images([lying, png.getvalue()])
        assert client.info().orient
    np.testing.assert_allclose(turned, expected, atol=1e-6)

    command = [Path(sys.executable).with_name("tritonclip"), "info", "--url", url]
    shown = subprocess.run(
        [*command, "--model", "upright"], env=environment, capture_output=True, text=True
    )
    assert "exact, turned by EXIF orientation" in shown.stdout

    copy = shutil.copytree(bundle("demo").path, tmp_path / "demo")
    inputs = Inputs.read([lying, *samples.sample_images()], samples.sample_texts())
    verified = verify(Bundle.load(copy).with_info(name="upright"), inputs, server=url).bundle
    figures = {figure.stage: figure for figure in verified.info.parity}
    assert figures["served image"].passed
