"""Assembled repositories: complete, consistent, idempotent, and never half there."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import BundleError, RepositoryError
from tritonclip_export.repository.assemble import Missing, assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.runtimes import Device, Runtime
from tritonclip_export.repository.wiring import check_repository
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import PREPROCESS, Limits
from tritonclip_export.served.sources import skeletons

MODELS = (
    "image",
    "image_encoder",
    "image_preprocess",
    "text",
    "text_encoder",
    "text_tokenize",
    "text_windows",
    "zero_shot",
)


@pytest.fixture
def resnet(bundle: Callable[[str], Bundle]) -> Bundle:
    return bundle("resnet")


def contents(repository: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and bytes."""
    return {
        str(path.relative_to(repository)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in repository.rglob("*")
        if path.is_file()
    }


def test_the_skeletons_are_valid_and_fit_together() -> None:
    check_repository(skeletons())


@pytest.mark.parametrize("runtime", ["python", "onnxruntime", "tensorrt"])
def test_configs_carry_what_the_bundle_says(
    runtime: Runtime, resnet: Bundle, tmp_path: Path
) -> None:
    done = assemble([resnet], tmp_path / "repository", runtime=runtime)

    assert done.written == tuple(f"resnet_{model}" for model in MODELS)
    configs = {m: read_config(done.repository / f"resnet_{m}" / "config.pbtxt") for m in MODELS}
    assert configs["image_encoder"].backend == runtime
    assert list(configs["image_encoder"].input[0].dims) == [3, 64, 64]
    assert list(configs["text_encoder"].input[0].dims) == [-1]
    assert list(configs["image"].output[0].dims) == [64]
    assert {c.max_batch_size for m, c in configs.items() if m != "zero_shot"} == {32}
    assert configs["text"].response_cache.enable
    assert configs["image"].parameters["tritonclip_runtime"].string_value == runtime
    file = "model.plan" if runtime == "tensorrt" else "model.onnx"
    expected = [done.repository / f"resnet_{t}_encoder" / "1" / file for t in ("image", "text")]
    if runtime == "tensorrt":  # engines are built on the machine that serves them
        build = f"tritonclip build {resnet.path} --precision fp16"
        assert done.missing == tuple(Missing(file, build) for file in expected)
    else:
        assert all(path.is_file() for path in expected)
        assert not done.missing


@pytest.mark.parametrize(
    ("runtime", "device", "steps"),
    [
        ("python", "cpu", ["text_encoder"]),
        ("python", "gpu", ["text_tokenize", "text_encoder"]),
        ("onnxruntime", "cpu", ["text_tokenize", "text_encoder"]),
    ],
)
def test_an_encoder_in_python_on_a_cpu_tokenizes_itself(
    runtime: Runtime, device: Device, steps: list[str], resnet: Bundle, tmp_path: Path
) -> None:
    execution = Execution(device=device, precision="fp32")
    assemble([resnet], tmp_path / "r", runtime=runtime, execution=execution)

    ensemble, encoder, tokenizer = (
        read_config(tmp_path / "r" / f"resnet_{model}" / "config.pbtxt")
        for model in ("text", "text_encoder", "text_tokenize")
    )
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == [
        f"resnet_{step}" for step in steps
    ]
    alone = len(steps) == 1
    assert [tensor.name for tensor in encoder.input] == ["TOKEN_IDS", "TEXT"][: 1 + alone]
    assert all(tensor.optional == alone for tensor in encoder.input)
    assert len(tokenizer.model_warmup) == (not alone)


def test_a_fixed_length_tower_gets_a_fixed_length(
    bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    assemble([bundle("siglip")], tmp_path / "r", runtime="onnxruntime")

    config = read_config(tmp_path / "r" / "siglip_text_encoder" / "config.pbtxt")
    assert list(config.input[0].dims) == [20]


def test_assembling_twice_changes_nothing(resnet: Bundle, tmp_path: Path) -> None:
    assemble([resnet], tmp_path / "repository", runtime="python")
    before = contents(tmp_path / "repository")

    again = assemble([resnet], tmp_path / "repository", runtime="python")

    assert not again.written
    assert len(again.unchanged) == len(MODELS)
    assert contents(tmp_path / "repository") == before


def test_only_what_changed_is_replaced(resnet: Bundle, tmp_path: Path) -> None:
    assemble([resnet], tmp_path / "repository", runtime="python")

    done = assemble(
        [resnet], tmp_path / "repository", runtime="python", limits=Limits(max_image_bytes=1000)
    )

    assert done.written == ("resnet_image", "resnet_image_preprocess", "resnet_text")


def test_a_repository_says_how_its_images_become_pixels(resnet: Bundle, tmp_path: Path) -> None:
    for mode in PREPROCESS:
        target = tmp_path / mode
        assemble([resnet], target, runtime="python", preprocess=mode)
        described = read_config(target / "resnet_image" / "config.pbtxt").parameters
        told = read_config(target / "resnet_image_preprocess" / "config.pbtxt").parameters
        assert described["tritonclip_preprocess"].string_value == mode
        assert told["mode"].string_value == mode


def test_an_engine_put_in_place_by_hand_stays_while_it_is_for_these_weights(
    resnet: Bundle, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    first = assemble([resnet], repository, runtime="tensorrt")
    for missing in first.missing:
        missing.file.write_bytes(b"a plan")

    again = assemble([resnet], repository, runtime="tensorrt")
    assert not again.missing
    assert not again.written
    assert all(missing.file.read_bytes() == b"a plan" for missing in first.missing)

    source = resnet.info.source.model_copy(update={"weights_sha256": "0" * 64})
    other = resnet.with_info(source=source)
    assert assemble([other], repository, runtime="tensorrt").missing == first.missing
    assert not any(missing.file.exists() for missing in first.missing)


def test_other_bundles_and_other_peoples_models_stay(
    resnet: Bundle, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    assemble([resnet], repository, runtime="python")
    (repository / "theirs" / "1").mkdir(parents=True)
    (repository / "theirs" / "config.pbtxt").write_text('name: "theirs" backend: "python"')

    done = assemble([bundle("siglip")], repository, runtime="python")
    assert done.kept == tuple(f"resnet_{model}" for model in MODELS)

    done = assemble([bundle("siglip")], repository, runtime="python", prune=True)
    assert done.removed == tuple(f"resnet_{model}" for model in MODELS)
    assert sorted(path.name for path in repository.iterdir()) == sorted(
        [*(f"siglip_{model}" for model in MODELS), "theirs"]
    )


def test_a_reader_never_finds_half_a_model(
    resnet: Bundle, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    """A thread polls as Triton does, while two bundles of one name replace each other."""
    other = bundle("siglip").with_info(name="resnet")
    assemble([resnet], tmp_path / "repository", runtime="python")
    model = tmp_path / "repository" / "resnet_text_encoder"
    sizes = {
        "-1": resnet.file("text_encoder.onnx").stat().st_size,
        "20": other.file("text_encoder.onnx").stat().st_size,
    }
    seen: set[str] = set()
    wrong: list[str] = []
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            try:
                config = read_config(model / "config.pbtxt")
                size = (model / "1" / "model.onnx").stat().st_size
            except (OSError, RepositoryError) as error:
                wrong.append(str(error))
                continue
            dims = str(config.input[0].dims[0])
            seen.add(dims)
            # If the config is still the same, no exchange came between the two reads.
            if size != sizes[dims] and read_config(model / "config.pbtxt") == config:
                wrong.append(f"config {dims} with a graph of {size} bytes")

    thread = threading.Thread(target=poll)
    thread.start()
    for turn in range(10):
        assemble([other if turn % 2 == 0 else resnet], tmp_path / "repository", runtime="python")
    stop.set()
    thread.join()

    assert seen == {"-1", "20"}
    assert not wrong


def test_two_bundles_of_one_name_are_refused(resnet: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"'resnet'.*--name"):
        assemble([resnet, resnet], tmp_path / "repository", runtime="python")
    assert not (tmp_path / "repository").exists()


def test_a_damaged_bundle_is_refused_and_the_repository_stays(
    resnet: Bundle, tmp_path: Path
) -> None:
    assemble([resnet], tmp_path / "repository", runtime="python")
    before = contents(tmp_path / "repository")
    shutil.copytree(resnet.path, tmp_path / "damaged")
    with (tmp_path / "damaged" / "text_encoder.onnx").open("ab") as file:
        file.write(b"!")

    with pytest.raises(BundleError, match=r"text_encoder\.onnx differs"):
        assemble([Bundle.load(tmp_path / "damaged")], tmp_path / "repository", runtime="python")

    assert contents(tmp_path / "repository") == before


@pytest.mark.parametrize(
    ("model", "old", "new", "message"),
    [
        ("image_encoder", "dims: 64\n", "dims: 65\n", r"image.*wants"),
        ("image_preprocess", 'name: "PIXELS"', 'name: "X"', "no output PIXELS"),
        ("image", "resnet_image_encoder", "resnet_other", "resnet_other does not exist"),
        ("text", "max_batch_size: 32", "max_batch_size: 64", "batches of 64"),
        ("zero_shot", 'name: "resnet_zero_shot"', 'name: "x"', "calls it 'x'"),
        ("text", "ensemble_scheduling {", "ensemble_scheduling {{", "not a valid model config"),
    ],
)
def test_models_that_do_not_fit_together_are_found(
    model: str, old: str, new: str, message: str, resnet: Bundle, tmp_path: Path
) -> None:
    assemble([resnet], tmp_path / "repository", runtime="python")
    file = tmp_path / "repository" / f"resnet_{model}" / "config.pbtxt"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))

    with pytest.raises(RepositoryError, match=message):
        check_repository(tmp_path / "repository")
