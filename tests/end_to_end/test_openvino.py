"""The runtime `openvino`: from a bundle to a real server, by command line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tritonclip import Client
from tritonclip_export import samples
from tritonclip_export.bundle import Bundle
from tritonclip_export.openvino import library, running
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair
from tritonclip_export.served.model_config import read_config
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import ModelLoadError, Server

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
IMAGES = [path.read_bytes() for path in samples.sample_images()]
TEXTS = samples.sample_texts()


@pytest.fixture(scope="module")
def repository(bundle: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo in BF16 where this CPU has it, else in FP32; its bundle lies beside it."""
    home = tmp_path_factory.mktemp("openvino")
    shutil.copytree(bundle("demo").path, home / "demo")
    precision = "bf16" if library.executes("bf16") else "fp32"
    for arguments in (
        ("build", "demo", "--openvino", "--precision", precision),
        ("assemble", "demo", "--runtime", "openvino", "--instances", "2", "--threads", "1"),
    ):
        done = subprocess.run(
            [TRITONCLIP, *arguments, "--json"],
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["precisions"].values()) == {precision}
    return home / "repository"


def test_a_server_gives_what_was_measured(repository: Path) -> None:
    bundle = Bundle.load(repository.parent / "demo")
    (precision,) = bundle.precisions_as("openvino")
    inputs = Inputs(tuple(IMAGES), tuple(TEXTS))
    measured = running.embeddings(bundle, Batches.of(bundle, inputs), precision)

    with (
        Server(repository, ports=Ports(0, 0, 0)) as server,
        Client(server.grpc_url, batch_size=5) as client,
    ):
        served = Pair(client.embed_images(IMAGES), client.embed_texts(TEXTS))
        info = client.info()
        again = client.embed_images(IMAGES)

    # Sums are in another order in batches of another size, and BF16 rounds them to eight bits.
    tolerance = 2e-6 if precision == "fp32" else 4e-3
    np.testing.assert_allclose(served.images, measured.images, atol=tolerance)
    np.testing.assert_allclose(served.texts, measured.texts, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(served.images, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(again, served.images)  # not overwritten by what came after
    assert (info.runtime, info.precision) == ("openvino", precision)


def test_who_built_models_is_told_which_runtime_serves_them(repository: Path) -> None:
    done = subprocess.run(
        [TRITONCLIP, "assemble", "demo", "-o", "default"],
        cwd=repository.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "served with --runtime openvino" in done.stdout
    config = read_config(repository.parent / "default" / "demo_image" / "config.pbtxt")
    assert config.parameters["tritonclip_runtime"].string_value == "python"


def test_a_server_without_openvino_says_how_to_get_it(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    model = copy / "demo_text_encoder" / "1" / "model.py"
    missing = 'import sys; sys.modules["openvino"] = None\n'
    model.write_text(missing + model.read_text())

    with (
        pytest.raises(ModelLoadError, match=r'pip install "tritonclip\[openvino\]"'),
        Server(copy, ports=Ports(0, 0, 0), control="explicit", load=["demo_text_encoder"]),
    ):
        pass
