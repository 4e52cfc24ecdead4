"""Bundles: what is in them, when they are rewritten, and that they are never half written."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tritonclip_export import precision
from tritonclip_export.bundle import TOWERS, Bundle
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.errors import BundleError, DiskSpaceError, ExportError, ParityError
from tritonclip_export.export.writing import export, up_to_date
from tritonclip_export.graph.encoder import Encoder, Input, check
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, compare_pairs, reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.samples import sample_images, sample_texts

FAMILIES = ("demo", "siglip", "resnet")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graphs_have_the_contracts_tensors(name: str, bundle: Callable[[str], Bundle]) -> None:
    exported = bundle(name)
    image, text = (exported.artifact(tower) for tower in ("image", "text"))
    pixels, ids = (Encoder(exported.file(artifact.file)).input for artifact in (image, text))
    spec = exported.info.image

    assert (pixels.name, pixels.type) == ("PIXELS", "tensor(uint8)")
    assert pixels.shape == ["batch", 3, spec.height, spec.width]
    assert (ids.name, ids.type) == ("TOKEN_IDS", "tensor(int32)")
    dynamic = exported.info.text.dynamic_length
    assert ids.shape == ["batch", "length" if dynamic else exported.info.text.context_length]
    assert dynamic == (name != "siglip")
    assert all(figure.passed for figure in exported.info.parity)
    assert {figure.stage for figure in exported.info.parity} == {
        "token ids",
        "pixels",
        "onnx image",
        "onnx text",
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_a_bundle_agrees_with_pytorch_on_inputs_export_did_not_see(
    name: str,
    bundle: Callable[[str], Bundle],
    dual_encoder: Callable[[str], object],
    twemoji: dict[str, bytes],
) -> None:
    labels = sorted(twemoji)[::97]
    inputs = Inputs(tuple(twemoji[label] for label in labels), tuple(labels))

    figures = compare_pairs(
        "onnx",
        reference_embeddings(dual_encoder(name), inputs),
        onnx_embeddings(bundle(name), Batches.of(bundle(name), inputs)),
    )

    assert [figure.passed for figure in figures] == [True, True]


def test_a_causal_tower_gives_the_same_embedding_at_every_length(
    bundle: Callable[[str], Bundle],
) -> None:
    exported = bundle("resnet")
    encoder = Encoder(exported.file(exported.artifact("text").file))
    ids = np.array([[49406, 320, 2368, 49407]], np.int32)

    vectors = [encoder(np.pad(ids, ((0, 0), (0, n - 4)))) for n in (4, 8, 31, 77)]

    for vector in vectors[1:]:
        np.testing.assert_allclose(vector, vectors[0], atol=1e-6)


def test_nothing_is_exported_again_without_reason(
    bundle: Callable[[str], Bundle], dual_encoder: Callable[[str], object], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bundle("resnet").path, folder)
    checkpoint = dual_encoder("resnet")

    def current(**options: object) -> object:
        return up_to_date(checkpoint, folder, **{"name": "resnet", "max_batch": 32, **options})

    assert current() is not None
    assert current(name="other") is None
    assert current(max_batch=8) is None
    with (folder / "image_encoder.onnx").open("ab") as file:
        file.write(b"damage")
    assert current() is None


def _export_slowly(checkpoint: str, target: str) -> None:
    loaded = load(parse(checkpoint))

    def wait(step: str) -> None:
        if step.startswith("tracing and checking the image"):  # the tokenizer is written
            Path(target).with_suffix(".waiting").touch()
            time.sleep(60)

    export(loaded, Path(target), name="vit", progress=wait)


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_an_interrupted_export_leaves_no_bundle(
    how: signal.Signals, tmp_path: Path, checkpoint_folder: Callable[[str], Path]
) -> None:
    target = tmp_path / "bundle"
    process = multiprocessing.get_context("spawn").Process(
        target=_export_slowly, args=(str(checkpoint_folder("vit")), str(target))
    )
    process.start()
    while not target.with_suffix(".waiting").exists():
        assert process.is_alive()
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, how)
    process.join(20)

    assert not process.is_alive()
    assert not target.exists()
    left_over = [path for path in tmp_path.iterdir() if path.name.startswith(".bundle.staging")]
    assert bool(left_over) == (how is signal.SIGKILL)

    def seen(_: str) -> None:
        begun.append({path.name for path in tmp_path.glob(".bundle.staging*")})
        raise InterruptedError

    begun: list[set[str]] = []
    with pytest.raises(InterruptedError):
        export(load(parse(str(checkpoint_folder("vit")))), target, name="vit", progress=seen)

    assert [len(folders) for folders in begun] == [1]  # its own
    assert not begun[0] & {path.name for path in left_over}
    assert not target.exists()
    assert not [path for path in tmp_path.iterdir() if ".staging" in path.name]


def test_a_failing_export_leaves_the_previous_bundle(
    bundle: Callable[[str], Bundle],
    dual_encoder: Callable[[str], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(bundle("vit").path, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # PyTorch's side of the comparison is replaced by another input's.
    honest = reference_embeddings

    def shuffled(checkpoint: object, inputs: Inputs) -> Pair:
        pair = honest(checkpoint, inputs)
        return Pair(pair.images[::-1], pair.texts)

    monkeypatch.setattr("tritonclip_export.export.writing.reference_embeddings", shuffled)

    with pytest.raises(ParityError, match="onnx image"):
        export(dual_encoder("vit"), folder, name="vit", max_batch=2)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["vit"]


def test_weights_past_the_protobuf_limit_go_to_a_file_beside_the_graph(
    external_data_bundle: Bundle,
) -> None:
    exported = external_data_bundle

    text = exported.artifact("text")
    assert text.external_data == "text_encoder.onnx.data"
    assert exported.file(text.file).stat().st_size < 500_000
    assert exported.file(text.external_data).stat().st_size > 12_000_000
    exported.check_files()
    inputs = Inputs.read(sample_images()[:2], sample_texts()[:2])
    assert np.isfinite(onnx_embeddings(exported, Batches.of(exported, inputs)).texts).all()


def test_what_does_not_fit_on_the_disk_is_refused_before_the_work(
    checkpoint_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoint: Any = load(parse(str(checkpoint_folder("resnet"))))
    ballast = torch.zeros(1).expand(2**44)  # 64 TiB of weights, four bytes in memory
    checkpoint.model.visual.register_buffer("ballast", ballast)
    steps: list[str] = []

    with pytest.raises(DiskSpaceError, match=r"about 67,108,\d{3} MiB, and the disk of .* has \d"):
        export(checkpoint, tmp_path / "bundle", name="big", progress=steps.append)

    assert steps == ["converting the tokenizer"]
    assert not list(tmp_path.iterdir())


def test_encoders_at_another_precision_must_fit_on_the_disk(
    bundle: Callable[[str], Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = Bundle.load(Path(shutil.copytree(bundle("vit").path, tmp_path / "vit")))
    whole = sum(vit.size_of(vit.artifact(tower)) for tower in TOWERS)
    inputs = Inputs.read(sample_images()[:2], sample_texts()[:2])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=2**20))

    for lower, share in (("fp16", 2), ("int8", 4)):
        size = f"{whole / share / 2**20:,.0f} MiB"
        with pytest.raises(DiskSpaceError, match=f"about {size}, and the disk of .* has 1 left"):
            precision.write(vit, lower, inputs=inputs)

    assert Bundle.load(vit.path) == vit


def test_a_folder_of_something_else_is_not_overwritten(
    dual_encoder: Callable[[str], object], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")

    with pytest.raises(BundleError, match="not a bundle"):
        export(dual_encoder("resnet"), tmp_path / "photos", name="x")

    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["my model", "../up", "", "-x", "naïve"])
def test_a_name_that_is_no_model_name_is_refused_before_the_work(
    name: str, dual_encoder: Callable[[str], object], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="letters, digits"):
        export(dual_encoder("resnet"), tmp_path / "x", name=name, progress=pytest.fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda info: info.update(dim=-1), "dim"),
        (lambda info: info.pop("text"), "text"),
        (lambda info: info.update(format_version=99), "format_version"),
        (lambda info: info["image"].update(resize_mode="stretch"), "image.resize_mode"),
        (lambda info: info.update(name="../escape"), "name"),
    ],
)
def test_a_bundle_json_that_does_not_fit_is_refused_by_field(
    damage: Callable[[dict[str, object]], object],
    message: str,
    bundle: Callable[[str], Bundle],
    tmp_path: Path,
) -> None:
    info = json.loads((bundle("resnet").path / "bundle.json").read_text())
    damage(info)
    (tmp_path / "bundle.json").write_text(json.dumps(info))

    with pytest.raises(BundleError, match=message):
        Bundle.load(tmp_path)


def _constant_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def _other_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["embedding" if name == "EMBEDDING" else name for name in node.output]
    model.graph.output[0].name = "embedding"


@pytest.mark.parametrize(
    ("damage", "message"), [(_constant_batch, "batch 1: ONNX Runtime"), (_other_output, "tensors")]
)
def test_a_graph_that_breaks_the_contract_is_refused(
    damage: Callable[[onnx.ModelProto], None],
    message: str,
    bundle: Callable[[str], Bundle],
    tmp_path: Path,
) -> None:
    exported = bundle("resnet")
    model = onnx.load(exported.file("image_encoder.onnx"))
    damage(model)
    file = tmp_path / "image_encoder.onnx"
    onnx.save(model, file)
    example = Input("PIXELS", np.zeros((2, 3, 64, 64), np.uint8), {0: "batch"})

    with pytest.raises(ExportError, match=message):
        check(file, example, dim=64)
