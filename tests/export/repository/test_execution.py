"""Encoders as ONNX graphs: which precision is served where, and what the configs say about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import RepositoryError
from tritonclip_export.machine import cpu, gpus
from tritonclip_export.machine.cpu import Cpu
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.runtimes import Device, Runtime
from tritonclip_export.served.model_config import read_config, render_config
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import ModelLoadError, Server


@pytest.fixture
def resnet(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A bundle with graphs that are called fp16 and int8; `assemble` does not look inside."""
    original = bundle("resnet")
    shutil.copytree(original.path, tmp_path / "resnet")
    graphs = list(original.info.artifacts)
    for artifact in original.info.artifacts:
        for precision in ("fp16", "int8"):
            name = f"{artifact.tower}_encoder.{precision}.onnx"
            shutil.copyfile(original.file(artifact.file), tmp_path / "resnet" / name)
            graphs.append(artifact.model_copy(update={"precision": precision, "file": name}))
    return Bundle.load(tmp_path / "resnet").with_info(artifacts=tuple(graphs))


def encoder(bundle: Bundle, runtime: Runtime, **execution: Any) -> Any:
    """The parsed config of an assembled text encoder."""
    repository = bundle.path.parent / "repository"
    assemble([bundle], repository, runtime=runtime, execution=Execution(**execution))
    return read_config(repository / "resnet_text_encoder" / "config.pbtxt")


def served(bundle: Bundle) -> str:
    config = read_config(bundle.path.parent / "repository" / "resnet_text" / "config.pbtxt")
    return str(config.parameters["tritonclip_precision"].string_value)


def group(config: Any) -> tuple[str, int]:
    (only,) = config.instance_group
    return only.Kind.Name(only.kind), only.count


@pytest.mark.parametrize("runtime", ["python", "onnxruntime"])
@pytest.mark.parametrize("named", [(), (0, 2)])
def test_encoders_are_spread_over_the_gpus_that_are_named(
    runtime: Runtime, named: tuple[int, ...], resnet: Bundle
) -> None:
    config = encoder(resnet, runtime, gpus=named, instances=2)

    assert served(resnet) == "fp16"
    assert group(config) == ("KIND_GPU", 2)
    # Triton puts a group that names none on every GPU there is.
    assert tuple(config.instance_group[0].gpus) == named


def test_gpus_are_no_place_for_what_runs_on_cpus(resnet: Bundle) -> None:
    with pytest.raises(RepositoryError, match="two places"):
        encoder(resnet, "python", device="cpu", gpus=(0,))
    with pytest.raises(RepositoryError, match="int8 graphs are quantised for CPUs"):
        encoder(resnet, "python", precision="int8", gpus=())
    with pytest.raises(RepositoryError, match="openvino serves on CPUs only"):
        encoder(resnet, "openvino", gpus=(0,))


def accelerators(config: Any) -> dict[str, dict[str, str]]:
    listed = config.optimization.execution_accelerators.gpu_execution_accelerator
    return {accelerator.name: dict(accelerator.parameters) for accelerator in listed}


def test_onnx_runtime_serves_fp16_on_a_gpu_where_the_bundle_has_it(resnet: Bundle) -> None:
    config = encoder(resnet, "onnxruntime", instances=2)

    assert served(resnet) == "fp16"
    assert group(config) == ("KIND_GPU", 2)
    assert accelerators(config) == {}
    graph = resnet.path.parent / "repository" / "resnet_text_encoder" / "1" / "model.onnx"
    assert graph.samefile(resnet.file("text_encoder.fp16.onnx"))


def test_fp32_means_fp32_on_whatever_there_is(resnet: Bundle) -> None:
    config = encoder(resnet, "onnxruntime", precision="fp32")

    assert served(resnet) == "fp32"
    assert group(config) == ("KIND_AUTO", 1)
    assert accelerators(config) == {"cuda": {"use_tf32": "0"}}


def test_on_a_cpu_onnx_runtime_takes_the_threads_it_is_given(resnet: Bundle) -> None:
    config = encoder(resnet, "onnxruntime", device="cpu", threads=4, instances=2)

    assert group(config) == ("KIND_CPU", 2)
    assert config.parameters["intra_op_thread_count"].string_value == "4"
    assert accelerators(config) == {}


@pytest.mark.parametrize("runtime", ["python", "onnxruntime"])
def test_int8_is_served_on_cpus_on_request(runtime: Runtime, resnet: Bundle) -> None:
    config = encoder(resnet, runtime, precision="int8")

    assert served(resnet) == "int8"
    assert group(config) == ("KIND_CPU", 1)
    assert accelerators(config) == {}


@pytest.mark.parametrize(("runtime", "device"), [("python", None), ("onnxruntime", "cpu")])
@pytest.mark.parametrize(("features", "precision"), [(("VNNI",), "int8"), ((), "fp32")])
def test_a_cpu_serves_int8_where_it_has_instructions_for_it(
    runtime: Runtime,
    device: Device | None,
    features: tuple[str, ...],
    precision: str,
    resnet: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "this", lambda: Cpu("some CPU", features))
    monkeypatch.setattr(gpus, "present", lambda: False)
    encoder(resnet, runtime, device=device)

    assert served(resnet) == precision


def test_python_leaves_int8_where_a_gpu_could_serve(
    resnet: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "present", lambda: True)
    config = encoder(resnet, "python", threads=3)

    assert served(resnet) == "fp32"
    assert group(config) == ("KIND_CPU", 1)
    assert config.parameters["device"].string_value == "auto"
    assert config.parameters["intra_op_threads"].string_value == "3"


def test_python_serves_fp16_only_on_a_gpu(resnet: Bundle) -> None:
    config = encoder(resnet, "python", precision="fp16", device="gpu")

    assert served(resnet) == "fp16"
    assert group(config) == ("KIND_GPU", 1)
    assert config.parameters["device"].string_value == "gpu"


def test_onnx_runtime_builds_one_engine_for_all_shapes_and_keeps_it(resnet: Bundle) -> None:
    config = encoder(resnet, "onnxruntime", accelerator="tensorrt", engine_cache="/cache")

    assert accelerators(config) == {
        "tensorrt": {
            "trt_profile_min_shapes": "TOKEN_IDS:1x8",
            "trt_profile_opt_shapes": "TOKEN_IDS:16x77",
            "trt_profile_max_shapes": "TOKEN_IDS:32x77",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "/cache",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "/cache",
        }
    }


@pytest.mark.parametrize(
    ("runtime", "execution", "message"),
    [
        ("tensorrt", {"device": "cpu"}, "GPUs only; --runtime onnxruntime"),
        ("tensorrt", {"precision": "int8"}, "TensorRT takes fp16, bf16 or fp32"),
        ("tensorrt", {"threads": 2}, "--threads is for encoders on a CPU"),
        ("tensorrt", {"accelerator": "tensorrt"}, "goes with --runtime onnxruntime"),
        ("onnxruntime", {"precision": "int8", "device": "gpu"}, "leave --device gpu or --gpus out"),
        ("onnxruntime", {"precision": "fp16", "device": "cpu"}, "fp16 graphs run on GPUs only"),
        ("onnxruntime", {"threads": 2}, "say --device cpu with it"),
        ("onnxruntime", {"accelerator": "tensorrt", "device": "cpu"}, "on a GPU"),
        ("onnxruntime", {"engine_cache": "/cache"}, "goes with --accelerator tensorrt"),
        ("python", {"precision": "fp16"}, "crashes on them on a CPU.*say --device gpu"),
        ("python", {"precision": "bf16"}, "bf16 graphs run on GPUs only"),
        ("python", {"accelerator": "tensorrt"}, "goes with --runtime onnxruntime"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_way_out(
    runtime: Runtime, execution: dict[str, Any], message: str, resnet: Bundle
) -> None:
    with pytest.raises(RepositoryError, match=message):
        encoder(resnet, runtime, **execution)
    assert not (resnet.path.parent / "repository").exists()


def test_a_graph_that_the_bundle_does_not_have_is_named_with_what_writes_it(
    resnet: Bundle,
) -> None:
    build = f"tritonclip build {resnet.path} --precision bf16 --graphs-only"

    with pytest.raises(RepositoryError, match=rf"no image graph in bf16, but in fp16.*{build}"):
        encoder(resnet, "onnxruntime", precision="bf16")


def test_an_encoder_for_a_gpu_does_not_load_on_a_server_without(resnet: Bundle) -> None:
    """A graph in half precision would end the process, so the model asks before it opens one."""
    config = encoder(resnet, "python", precision="fp16", device="gpu")
    repository = resnet.path.parent / "repository"
    # Triton itself refuses a GPU instance here; this is for servers with a GPU but onnxruntime.
    config.instance_group[0].kind = config.instance_group[0].KIND_CPU
    file = repository / "resnet_text_encoder" / "config.pbtxt"
    file.write_text(render_config(config, []))

    with (
        pytest.raises(ModelLoadError, match=r"install onnxruntime-gpu in place of onnxruntime"),
        Server(repository, ports=Ports(0, 0, 0), control="explicit", load=["resnet_text_encoder"]),
    ):
        pass
