"""The models of a repository under the container's Python 3.12 and numpy 2.

The server from PyPI needs numpy 1, so they run without it, on a stand-in for its module that is
made from what the real one offers. `make container-conditions` makes the environment.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from google.protobuf import json_format

from image_files import FILES, photo, saved
from stand_ins.vocabularies import CORPUS
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.served.model_config import read_config
from tritonclip_export.server import tritonserver
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

HERE = Path(__file__).parent
CONTAINER = HERE.parents[1] / ".venv-container" / "bin" / "python"
BUNDLES = ("demo", "siglip", "resnet", "chinese_clip")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CONTAINER.exists(), reason="`make container-conditions` runs it"),
]

Results = dict[str, list[list[Any]]]
Run = Callable[[Path], tuple[dict[str, str], Results]]

SURFACE_CONFIG = """
name: "surface" backend: "python" max_batch_size: 0
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "SURFACE" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real server's Python module offers."""
    model = tmp_path_factory.mktemp("surface") / "repository" / "surface"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(SURFACE_CONFIG)
    shutil.copy(HERE / "surface.py", model / "1" / "model.py")
    asked = tritonclient.grpc.InferInput("TEXT", [1], "BYTES")
    asked.set_data_from_numpy(np.array([b""], dtype=object))
    with Server(model.parent, ports=Ports(0, 0, 0)) as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
        told = client.infer("surface", [asked]).as_numpy("SURFACE")
    return dict(json.loads(told[0]))


@pytest.fixture(scope="module")
def images(twemoji: dict[str, bytes]) -> list[bytes]:
    """Every kind of file, a large one, photographs, drawings, and some that are no image."""
    photographs = [file.read_bytes() for file in sample_images()]
    large = saved(photo(2600, 1700), "JPEG")
    broken = [b"", b"no image", photographs[0][:1000]]
    return [*(make() for make in FILES.values()), large, *photographs, *twemoji.values(), *broken]


@pytest.fixture(scope="module")
def texts(twemoji: dict[str, bytes]) -> list[bytes]:
    long = "a photo of a cat, " * 300
    texts = (*sample_texts(), long, *CORPUS, *twemoji)
    return [text.encode() for text in texts] + [b"\xff no UTF-8"]


@pytest.fixture(scope="module")
def run(
    surface: dict[str, Any],
    repository: Path,
    images: list[bytes],
    texts: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Answers of every Python model, by an interpreter."""
    folder = tmp_path_factory.mktemp("job")
    configs = {
        file.parent.name: json_format.MessageToDict(
            read_config(file),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,  # as Triton does
        )
        for file in repository.glob("*/config.pbtxt")
    }
    job = {
        "pb_utils": tritonserver.locate().root / "backends/python/triton_python_backend_utils.py",
        "surface": surface,
        "repository": repository,
        "configs": configs,
        "json": {name: json.dumps(config) for name, config in configs.items()},
        "calls": _calls(images, texts),
    }
    (folder / "job").write_bytes(pickle.dumps(job))

    def by(python: Path) -> tuple[dict[str, str], Results]:
        result = folder / "result"
        command = [python, HERE / "served_models.py", folder / "job", result]
        subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]})
        return pickle.loads(result.read_bytes())

    return by


def _calls(images: list[bytes], texts: list[bytes]) -> dict[str, list[list[dict[str, Any]]]]:
    """Batches of requests, model by model: an item a request, and several in one."""

    def strings(name: str, *items: bytes) -> dict[str, Any]:
        return {name: np.array(items, dtype=object).reshape(-1, 1)}

    calls = {}
    for bundle in BUNDLES:
        calls[f"{bundle}_image_preprocess"] = [
            [strings("IMAGE", image) for image in images],
            [strings("IMAGE", *images[:5]), strings("IMAGE", *images[-4:])],
        ]
        calls[f"{bundle}_text_tokenize"] = [
            [strings("TEXT", text) for text in texts],
            [strings("TEXT", *texts[:9]), strings("TEXT", *texts[-2:])],
        ]
        few = [strings("TEXT", text) for text in texts[:12]]
        calls[f"{bundle}_text_windows"] = [few[:6]]
        flat = {"IMAGE": np.array(images[:3], dtype=object)}
        flat["LABELS"] = np.array(texts[:4], dtype=object)
        calls[f"{bundle}_zero_shot"] = [[flat | {"TEMPLATES": np.array([b"{}"], dtype=object)}]]
    return calls


@pytest.fixture(scope="module")
def here(run: Run) -> Results:
    versions, results = run(Path(sys.executable))
    assert versions["numpy"].startswith("1.")
    return results


@pytest.fixture(scope="module")
def in_container(run: Run) -> Results:
    versions, results = run(CONTAINER)
    assert versions["python"].startswith("3.12")
    assert versions["numpy"].startswith("2.")
    return results


def test_pixels_and_token_ids_are_the_same_to_the_last_bit(
    here: Results, in_container: Results
) -> None:
    compared = 0
    for model in here:
        if model.endswith(("_image_preprocess", "_text_tokenize")):
            for expected, found in _pairs(here[model], in_container[model]):
                assert type(found) is type(expected)
                if isinstance(expected, str):
                    assert found == expected
                else:
                    (name,) = expected
                    np.testing.assert_array_equal(found[name], expected[name], strict=True)
                compared += 1
    assert compared > len(BUNDLES) * 3000


def test_embeddings_and_probabilities_are_the_same_but_for_rounding(
    here: Results, in_container: Results
) -> None:
    for model in here:
        if model.endswith(("_text_windows", "_zero_shot")):
            for expected, found in _pairs(here[model], in_container[model]):
                (name,) = expected
                np.testing.assert_allclose(found[name], expected[name], atol=2e-5)


def test_what_is_bad_is_named_and_costs_only_its_own_request(in_container: Results) -> None:
    alone, together = in_container["demo_image_preprocess"]
    assert [isinstance(answer, str) for answer in alone[-4:]] == [False, True, True, True]
    assert isinstance(together[0], dict)
    assert [line.partition(":")[0] for line in together[1].splitlines()] == [
        f"image {i}" for i in (1, 2, 3)
    ]
    assert "text 1: not UTF-8" in in_container["demo_text_tokenize"][1][1]


def test_the_stand_in_answers_as_the_real_server_does(
    server: Server, here: Results, images: list[bytes], texts: list[bytes]
) -> None:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    for model, calls in _calls(images, texts).items():
        if model.endswith("_zero_shot"):
            ((request,),) = calls
            inputs = []
            for name, array in request.items():
                inputs.append(tritonclient.grpc.InferInput(name, list(array.shape), "BYTES"))
                inputs[-1].set_data_from_numpy(array)
            expected = client.infer(model, inputs).as_numpy("PROBABILITIES")
            ((found,),) = here[model]
            np.testing.assert_allclose(found["PROBABILITIES"], expected, atol=2e-5)


def _pairs(expected: list[list[Any]], found: list[list[Any]]) -> Iterator[tuple[Any, Any]]:
    for some, others in zip(expected, found, strict=True):
        yield from zip(some, others, strict=True)
