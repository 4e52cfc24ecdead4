"""Encoders as OpenVINO models: executed, near FP32, and honest about what a CPU cannot do."""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritonclip_export import samples
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.errors import BundleError, PrecisionError, RepositoryError
from tritonclip_export.machine import cpu
from tritonclip_export.machine.cpu import Cpu
from tritonclip_export.openvino import artifacts, library, running
from tritonclip_export.parity.figures import Tolerance
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.served.model_config import read_config
from tritonclip_export.verification.verify import verify

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs.read(samples.sample_images(), samples.sample_texts())


@pytest.fixture(scope="module")
def built(
    bundle: Callable[[str], Bundle], inputs: Inputs, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The demo bundle with models of every precision that this CPU executes."""
    folder = tmp_path_factory.mktemp("openvino") / "demo"
    made = Bundle.load(Path(shutil.copytree(bundle("demo").path, folder)))
    for precision in PRECISIONS:
        if library.executes(precision):
            made = artifacts.write(made, precision, inputs=inputs)
    return made


@pytest.fixture
def demo(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A copy of the demo bundle, to add to."""
    return Bundle.load(Path(shutil.copytree(bundle("demo").path, tmp_path / "demo")))


def errors(bundle: Bundle, precision: Precision) -> list[float]:
    """Relative to the spread, of images and of texts."""
    found = {figure.stage: figure for figure in bundle.info.parity}
    both = [found[f"openvino {precision} {tower}"] for tower in ("image", "text")]
    assert all(figure.passed for figure in both)
    return [figure.relative_to_spread or 0.0 for figure in both]


def operations(bundle: Bundle, precision: Precision, kind: str) -> int:
    """How many operations of a kind are in the model of the image tower."""
    file = bundle.file(bundle.artifact("image", "openvino", precision).file)
    return sum(layer.get("type") == kind for layer in ElementTree.parse(file).iter("layer"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_models_of_the_demo_checkpoint_are_near_fp32_or_refused(
    precision: Precision, built: Bundle, demo: Bundle, inputs: Inputs
) -> None:
    if not library.executes(precision):
        with pytest.raises(PrecisionError, match=r"this CPU.* has no .*the kind of machine"):
            artifacts.write(demo, precision, inputs=inputs)
        assert Bundle.load(demo.path) == demo
        return

    found = errors(built, precision)
    # Each shows the rounding of its own precision: none is a copy of another.
    assert max(found) < {"fp32": 1e-5, "bf16": 3e-2, "int8": 1e-1}[precision]
    assert min(found) > {"fp32": 0, "bf16": 1e-3, "int8": 5e-3}[precision]
    pair = running.embeddings(built, Batches.of(built, inputs), precision)
    for vectors in (pair.images, pair.texts):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert Bundle.load(built.path) == built


def test_lower_precision_is_smaller(built: Bundle) -> None:
    # The text tower's: in the image tower's, a CPU may have to keep its convolutions in FP32.
    sizes = {
        precision: built.file(str(built.artifact("text", "openvino", precision).external_data))
        .stat()
        .st_size
        for precision in built.precisions_as("openvino")
    }
    full = built.file(built.artifact("text").file).stat().st_size
    shares = {"fp32": 1.1, "bf16": 0.55, "int8": 0.35}
    assert {p: size < shares[p] * full for p, size in sizes.items()} == dict.fromkeys(sizes, True)


def test_the_second_time_has_nothing_to_do(demo: Bundle, inputs: Inputs) -> None:
    first = artifacts.write(demo, "fp32", inputs=inputs)
    weights = first.file(str(first.artifact("text", "openvino").external_data))
    written = weights.stat().st_mtime_ns

    steps: list[str] = []
    again = artifacts.write(first, "fp32", inputs=inputs, progress=steps.append)
    assert (again, steps, weights.stat().st_mtime_ns) == (first, [], written)

    weights.write_bytes(weights.read_bytes()[:-1])  # damaged since
    with pytest.raises(BundleError, match=r"text_encoder\.fp32.*run `tritonclip build` again"):
        first.check_files()
    artifacts.write(again, "fp32", inputs=inputs)
    Bundle.load(demo.path).check_files()


def test_what_misses_its_tolerance_leaves_the_bundle_as_it_was(
    demo: Bundle, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = Tolerance(relative_to_spread=1e-9, min_cosine=0.9, abs_floor=0)
    monkeypatch.setitem(artifacts.TOLERANCE_OF, "fp32", strict)

    with pytest.raises(PrecisionError, match=r"'openvino fp32 image'.*--runtime python"):
        artifacts.write(demo, "fp32", inputs=inputs)

    assert Bundle.load(demo.path) == demo
    assert not list(demo.path.glob("*.xml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip", "resnet"])
def test_other_families_are_near_fp32(
    name: str, bundle: Callable[[str], Bundle], tmp_path: Path, inputs: Inputs
) -> None:
    made = Bundle.load(Path(shutil.copytree(bundle(name).path, tmp_path / name)))
    few = Inputs(inputs.images[:6], inputs.texts)
    for precision in PRECISIONS:
        if library.executes(precision):
            made = artifacts.write(made, precision, inputs=few)
            assert max(errors(made, precision)) < {"fp32": 1e-3}.get(precision, 0.15)


@pytest.mark.skipif(not library.executes("int8"), reason="a CPU without VNNI")
def test_layers_stay_fp32_on_request(
    bundle: Callable[[str], Bundle], tmp_path: Path, inputs: Inputs
) -> None:
    folder = shutil.copytree(bundle("vit").path, tmp_path / "vit")
    vit = Bundle.load(Path(folder))
    few = Inputs(inputs.images[:4], inputs.texts[:6])
    with pytest.raises(PrecisionError, match=r"no layer is called 'transformer\.bloks\*'"):
        artifacts.write(vit, "int8", inputs=few, keep_fp32=("transformer.bloks*",))
    with pytest.raises(PrecisionError, match="leave it out"):
        artifacts.write(vit, "fp32", inputs=few, keep_fp32=("*",))

    whole = artifacts.write(vit, "int8", inputs=few)
    quantised = operations(whole, "int8", "FakeQuantize")
    kept = artifacts.write(whole, "int8", inputs=few, keep_fp32=("*.mlp*",))

    assert operations(kept, "int8", "FakeQuantize") < quantised
    assert kept.artifact("image", "openvino", "int8").kept_fp32 == ("*.mlp*",)


def test_what_this_machine_cannot_build_is_refused_with_a_way_out(
    demo: Bundle, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PrecisionError, match=r"fp32, bf16, int8 on CPUs, not in fp16"):
        artifacts.write(demo, "fp16", inputs=inputs)
    monkeypatch.setattr(cpu, "this", lambda: Cpu("an old CPU", ("AVX2",)))
    with pytest.raises(PrecisionError, match=r"an old CPU, has no VNNI, so int8"):
        artifacts.write(demo, "int8", inputs=inputs)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(PrecisionError, match=r'pip install "tritonclip\[openvino\]"'):
        artifacts.write(demo, "fp32", inputs=inputs)


def as_if_built(bundle: Bundle, *precisions: Precision) -> Bundle:
    """With its FP32 models called whatever; `assemble` does not look inside."""
    models = [bundle.artifact(tower, "openvino") for tower in ("image", "text")]
    called = [m.model_copy(update={"precision": p}) for m in models for p in precisions]
    graphs = [a for a in bundle.info.artifacts if a.format == "onnx"]
    return bundle.with_info(artifacts=(*graphs, *called))


@pytest.mark.parametrize(
    ("features", "has", "precision"),
    [
        (("VNNI", "BF16"), PRECISIONS, "int8"),
        (("VNNI", "BF16"), ("fp32", "bf16"), "bf16"),
        (("AMX",), PRECISIONS, "bf16"),
        (("VNNI",), ("fp32", "bf16"), "fp32"),
        (("AVX2",), PRECISIONS, "fp32"),
        (("AVX2",), ("bf16", "int8"), "bf16"),  # executed in FP32
    ],
)
def test_a_cpu_serves_the_fastest_that_it_is_good_at(
    features: tuple[str, ...],
    has: tuple[Precision, ...],
    precision: str,
    built: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "this", lambda: Cpu("some CPU", features))
    done = assemble([as_if_built(built, *has)], tmp_path / "repository", runtime="openvino")

    assert set(done.precisions.values()) == {precision}
    config = read_config(tmp_path / "repository" / "demo_text_encoder" / "config.pbtxt")
    executed = "bf16" if precision == "bf16" else "f32"
    assert config.parameters["execution_precision"].string_value == executed


def test_a_repository_holds_the_models_and_how_to_execute_them(
    built: Bundle, tmp_path: Path
) -> None:
    execution = Execution(precision="fp32", threads=3, instances=2)
    target = tmp_path / "repository"
    assemble([built], target, runtime="openvino", execution=execution)

    model = target / "demo_image_encoder"
    config = read_config(model / "config.pbtxt")
    (group,) = config.instance_group
    assert (config.backend, group.Kind.Name(group.kind), group.count) == ("python", "KIND_CPU", 2)
    assert config.parameters["intra_op_threads"].string_value == "3"
    assert sorted(file.name for file in (model / "1").iterdir()) == [
        *("answers.py", "cores.py", "model.bin", "model.py", "model.xml")
    ]
    assert (model / "1" / "model.bin").samefile(built.file("image_encoder.fp32.bin"))
    described = read_config(target / "demo_image" / "config.pbtxt").parameters
    assert described["tritonclip_runtime"].string_value == "openvino"
    again = assemble([built], target, runtime="openvino", execution=execution)
    assert again.written == ()


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"device": "gpu"}, "CPUs only; for a GPU, choose python, onnxruntime or tensorrt"),
        ({"precision": "fp16"}, "serves fp32, bf16 or int8"),
        ({"accelerator": "tensorrt"}, "goes with --runtime onnxruntime"),
    ],
)
def test_what_does_not_go_together_is_refused(
    execution: dict[str, Any], message: str, built: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(RepositoryError, match=message):
        assemble([built], tmp_path / "r", runtime="openvino", execution=Execution(**execution))


def test_models_that_are_not_there_are_named_with_what_writes_them(
    demo: Bundle, built: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = f"tritonclip build {demo.path} --precision bf16 --openvino"
    with pytest.raises(RepositoryError, match=rf"no OpenVINO models in bf16; `{build}` writes"):
        assemble([demo], tmp_path / "r", runtime="openvino", execution=Execution(precision="bf16"))
    monkeypatch.setattr(cpu, "this", lambda: Cpu("an old CPU", ()))
    with pytest.raises(RepositoryError, match="no OpenVINO models in fp32, but in int8"):
        assemble([as_if_built(built, "int8")], tmp_path / "r", runtime="openvino")


def test_verify_measures_the_models_that_this_cpu_executes(built: Bundle, inputs: Inputs) -> None:
    verified = verify(built, inputs)

    stages = {figure.stage for figure in verified.bundle.info.parity if figure.passed}
    for precision in PRECISIONS:
        assert (f"openvino {precision} text" in stages) == library.executes(precision)
