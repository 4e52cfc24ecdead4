"""Optional outputs from a real server, beside embeddings that do not change."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.samples import sample_images
from tritonclip_export.served.code import image_transform, text_transform
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

TEXTS = ["a cat", "a photo of a rocket on its way to the moon"]


@pytest.fixture(scope="module")
def bundle_with_tokens(tokens_bundle: Callable[[str], Bundle]) -> Bundle:
    return tokens_bundle("vit")


def test_the_options_of_export_name_these_outputs(
    bundle_with_tokens: Bundle, checkpoint_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """A bundle that has them is up to date, and one that has others would be written anew."""
    folder = shutil.copytree(bundle_with_tokens.path, tmp_path / "vit")
    command = [Path(sys.executable).with_name("tritonclip"), "export", checkpoint_folder("vit")]
    options = ["--outputs", "embedding,tokens", "--text-layer", "-1", "--max-batch", "4", "--json"]
    done = subprocess.run(
        [*command, *options, "-o", folder], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert not made["exported"]
    assert {t["tower"]: t["layer"] for t in made["tokens"]} == {"image": -2, "text": -1}


def test_tokens_are_served_beside_embeddings(bundle_with_tokens: Bundle, tmp_path: Path) -> None:
    bundle = bundle_with_tokens
    assemble([bundle], tmp_path / "repository", runtime="python")
    image, text = (Encoder(bundle.file(tokens.file)) for tokens in bundle.info.tokens)
    files = [path.read_bytes() for path in sample_images()[:3]]

    with Server(tmp_path / "repository", ports=Ports(0, 0, 0)) as server:
        triton = triton_grpc.InferenceServerClient(server.grpc_url)

        def infer(model: str, tensor: str, items: list[bytes]) -> triton_grpc.InferResult:
            array = np.array([[item] for item in items], dtype=np.object_)
            given = triton_grpc.InferInput(tensor, list(array.shape), "BYTES")
            given.set_data_from_numpy(array)
            return triton.infer(f"vit_{model}", [given])

        patches = infer("image_tokens", "IMAGE", files).as_numpy("HIDDEN_STATES")
        texts = infer("text_tokens", "TEXT", [text.encode() for text in TEXTS])
        triton.close()
        with Client(server.grpc_url) as client:
            assert client.embed_images(files).shape == (3, 48)

    transform = image_transform(bundle.info.image)
    expected = image(np.stack([transform.pixels(file) for file in files]))
    assert patches.shape == (3, 16, 64)
    assert np.abs(patches - expected).max() < 1e-5
    tokenizer = text_transform(bundle.info.text, bundle.path, any_length=True)
    ids = tokenizer.pad(tokenizer.encode(TEXTS))
    assert np.array_equal(texts.as_numpy("TOKEN_IDS"), ids)
    assert np.abs(texts.as_numpy("HIDDEN_STATES") - text(ids)).max() < 1e-5


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_the_container_serves_their_onnx_graphs(
    runtime: str, bundle_with_tokens: Bundle, tmp_path: Path
) -> None:
    done = assemble([bundle_with_tokens], tmp_path / "repository", runtime=runtime)
    for tower in ("image", "text"):
        model = tmp_path / "repository" / f"vit_{tower}_tokens_encoder"
        assert model.name in done.written
        assert 'backend: "onnxruntime"' in (model / "config.pbtxt").read_text()
        assert (model / "1" / "model.onnx").is_file()


def test_an_output_that_does_not_exist_is_refused(checkpoint_folder: Callable[[str], Path]) -> None:
    command = [Path(sys.executable).with_name("tritonclip"), "export", checkpoint_folder("vit")]
    done = subprocess.run(
        [*command, "--outputs", "embedding,logits"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "'logits'" in done.stderr
