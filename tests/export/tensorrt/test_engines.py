"""Engines, compiled for real by TensorRT-RTX, which needs no GPU.

The full TensorRT cannot be installed where these run. Parsing, profiles, progress, errors and what
happens to the bundle are the same code for both; what is its own is run up to the first call that
needs a driver.
"""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tritonclip_export import precision, samples
from tritonclip_export.bundle import Artifact, Bundle, sha256_of
from tritonclip_export.errors import BundleError, EngineError
from tritonclip_export.parity.inputs import Inputs
from tritonclip_export.tensorrt import engines, library
from tritonclip_export.tensorrt.build_log import explain
from tritonclip_export.tensorrt.capabilities import parse_target
from tritonclip_export.tensorrt.engines import ahead_of_time
from tritonclip_export.tensorrt.options import Options
from tritonclip_export.tensorrt.runner import open_engine, profile_for

THREE = ("sm86", "sm89", "sm120")


@pytest.fixture(scope="module")
def three(bundle: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo bundle with FP16 graphs and their engines for three GPUs, not to be changed."""
    folder = tmp_path_factory.mktemp("engines") / "demo"
    shutil.copytree(bundle("demo").path, folder)
    inputs = Inputs.read(samples.sample_images()[:4], samples.sample_texts()[:8])
    half = precision.write(Bundle.load(folder), "fp16", inputs=inputs)
    return ahead_of_time(THREE).build(half, "fp16").bundle


@pytest.fixture
def demo(three: Bundle, tmp_path: Path) -> Bundle:
    """A copy to build in."""
    shutil.copytree(three.path, tmp_path / "demo")
    return Bundle.load(tmp_path / "demo")


def recorded(bundle: Bundle) -> dict[str, str]:
    """Hashes of the engines that `bundle.json` records, by file, checked against the files."""
    now = Bundle.load(bundle.path)
    now.check_files()
    return {a.file: a.sha256 for a in now.info.artifacts if a.engine}


def test_fp16_engines_for_three_gpus_have_the_tensors_that_the_configs_promise(
    three: Bundle,
) -> None:
    assert set(recorded(three)) == {
        f"engines/{tower}_encoder.fp16.{gpu}.rtx" for tower in ("image", "text") for gpu in THREE
    }
    for artifact in three.info.artifacts:
        engine = artifact.engine
        if engine is None:
            continue
        assert [(b.name, b.mode, b.dtype, b.shape) for b in engine.bindings] == [
            ("PIXELS", "input", "uint8", (-1, 3, 64, 64))
            if artifact.tower == "image"
            else ("TOKEN_IDS", "input", "int32", (-1, -1)),
            ("EMBEDDING", "output", "fp32", (-1, 192)),
        ]
        shapes = [(profile.min, profile.opt, profile.max) for profile in engine.profiles]
        assert shapes == (
            [((1, 3, 64, 64), (16, 3, 64, 64), (32, 3, 64, 64))]
            if artifact.tower == "image"
            else [((1, length), (16, length), (32, length)) for length in (8, 16, 32)]
        )
        assert (artifact.format, artifact.precision, artifact.max_batch) == (
            "tensorrt-rtx",  # never for Triton's backend
            "fp16",
            32,
        )
        assert engine.version.startswith("1.7.")
        assert engine.size_bytes == three.file(artifact.file).stat().st_size
        assert engine.graph_sha256 == three.artifact(artifact.tower, "onnx", "fp16").sha256
        assert engine.layers is not None
        assert 10 < engine.layers < 1000
        assert engine.device_memory_bytes is not None
        assert engine.device_memory_bytes > 1e6


@pytest.mark.parametrize(
    ("name", "size", "length", "lengths"),
    [
        ("siglip", 160, 20, [20]),
        pytest.param("resnet", 64, -1, [8, 16, 32, 64, 77], marks=pytest.mark.slow),
    ],
)
def test_other_families_build_as_well(
    name: str,
    size: int,
    length: int,
    lengths: list[int],
    bundle: Callable[[str], Bundle],
    tmp_path: Path,
) -> None:
    shutil.copytree(bundle(name).path, tmp_path / name)
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    half = precision.write(Bundle.load(tmp_path / name), "fp16", inputs=inputs)

    image, text = ahead_of_time(["sm89"]).build(half, "fp16", Options(max_batch=4)).built

    assert image.engine is not None
    assert text.engine is not None
    assert image.engine.bindings[0].shape == (-1, 3, size, size)
    assert text.engine.bindings[0].shape == (-1, length)
    # SigLIP's tower attends to its padding, so it has one length.
    assert [profile.max for profile in text.engine.profiles] == [(4, n) for n in lengths]


@pytest.mark.slow
def test_half_precision_shrinks_the_engine(demo: Bundle) -> None:
    full = ahead_of_time(["sm89"]).build(demo, "fp32")

    assert len(recorded(demo)) == 8
    sizes = {a.file: a.engine.size_bytes for a in full.bundle.info.artifacts if a.engine}
    for tower in ("image", "text"):
        half, whole = (sizes[f"engines/{tower}_encoder.{p}.sm89.rtx"] for p in ("fp16", "fp32"))
        assert half < 0.75 * whole


def test_nothing_is_built_twice_without_a_reason(demo: Bundle) -> None:
    steps: list[str] = []
    again = ahead_of_time(THREE).build(demo, "fp16", progress=steps.append)
    assert (again.built, len(again.unchanged), steps) == ((), 6, [])

    target, options = ahead_of_time(["sm89"]), Options(opt_batch=4, max_batch=8)
    other = target.build(demo, "fp16", options, progress=steps.append)
    assert steps == ["compiling image fp16 for sm89", "compiling text fp16 for sm89"]
    assert [artifact.max_batch for artifact in other.built] == [8, 8]
    assert len(recorded(demo)) == 6  # each in the place of the one before

    whole, damaged = other.built
    demo.file(damaged.file).write_bytes(b"half a file")
    repaired = target.build(other.bundle, "fp16", options)
    assert [artifact.tower for artifact in repaired.built] == ["text"]
    assert repaired.unchanged == (whole,)


def test_what_another_process_recorded_meanwhile_is_kept(demo: Bundle) -> None:
    ignorant = demo.with_info(artifacts=tuple(a for a in demo.info.artifacts if not a.engine))

    ahead_of_time(["sm80"]).build(ignorant, "fp16", Options(max_batch=1))

    assert len(recorded(demo)) == 8


def test_a_graph_that_does_not_parse_names_the_node_and_leaves_the_engine(demo: Bundle) -> None:
    before = recorded(demo)
    file = demo.file("image_encoder.fp16.onnx")
    pixels = helper.make_tensor_value_info("PIXELS", TensorProto.UINT8, ["batch", 3, 64, 64])
    embedding = helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("Cast", ["PIXELS"], ["x"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Det", ["x"], ["EMBEDDING"], name="node_det_7"),
    ]
    graph = helper.make_graph(nodes, "broken", [pixels], [embedding])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), file)
    broken = demo.with_info(
        artifacts=tuple(
            a.model_copy(update={"sha256": sha256_of(file)}) if demo.file(a.file) == file else a
            for a in demo.info.artifacts
        )
    )
    broken.save()

    with pytest.raises(EngineError, match=r"the parser refuses the node 'node_det_7' \(Det\)"):
        ahead_of_time(["sm89"]).build(broken, "fp16")

    assert recorded(demo) == before
    assert {f"engines/{path.name}" for path in demo.file("engines").iterdir()} == set(before)


def test_an_engine_with_other_tensors_than_promised_is_refused(demo: Bundle) -> None:
    before = recorded(demo)
    wider = demo.with_info(dim=256)
    wider.save()

    with pytest.raises(EngineError, match=r"EMBEDDING fp32 \[-1, 192\].*promise.*\[-1, 256\]"):
        ahead_of_time(["sm80"]).build(wider, "fp16")

    assert recorded(demo) == before


def test_ctrl_c_stops_the_compiler_and_leaves_nothing(demo: Bundle) -> None:
    def press(_: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before, handler = recorded(demo), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ahead_of_time(["sm80"]).build(demo, "fp16", detail=press)

    assert recorded(demo) == before
    assert {f"engines/{path.name}" for path in demo.file("engines").iterdir()} == set(before)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(max_batch=33), "exported for 32 at most"),
        (Options(max_batch=8, opt_batch=9), "--opt-batch 9 is more than the largest batch, 8"),
        (Options(optimization_level=5), "choose batch sizes only"),
        (Options(refittable=True), "choose batch sizes only"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Options, message: str, demo: Bundle) -> None:
    with pytest.raises(EngineError, match=message):
        ahead_of_time(["sm89"]).build(demo, "fp32", options)


def test_precisions_without_graphs_or_engines_are_refused(demo: Bundle) -> None:
    with pytest.raises(BundleError, match="no image encoder as onnx bf16"):
        ahead_of_time(["sm89"]).build(demo, "bf16")
    with pytest.raises(EngineError, match="int8 graphs are for ONNX Runtime on CPUs"):
        ahead_of_time(["sm89"]).build(demo, "int8")


def test_an_engine_is_run_only_where_it_can_run(
    demo: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/no-driver-here")
    engine = next(a for a in demo.info.artifacts if a.engine)

    def run(artifact: Artifact) -> None:
        with open_engine(demo, artifact):
            raise AssertionError("it ran")

    with pytest.raises(EngineError, match="is a graph, not an engine"):
        run(demo.artifact("image"))
    with pytest.raises(EngineError, match=f"{engine.file} runs on a GPU, and here is none"):
        run(engine)


def test_each_length_has_its_profile(demo: Bundle) -> None:
    texts = next(a.engine for a in demo.info.artifacts if a.engine and a.tower == "text")

    assert [profile_for(texts.profiles, (length,)) for length in (8, 16, 32)] == [0, 1, 2]
    with pytest.raises(EngineError, match=r"no profile .* takes \[20\]; they take \[8\], \[16\]"):
        profile_for(texts.profiles, (20,))


def test_targets_are_written_as_people_write_them() -> None:
    assert [parse_target(name) for name in ("sm89", "SM120", "8.6")] == ["8.9", "12.0", "8.6"]
    with pytest.raises(EngineError, match=r"no target 'sm90'.*sm89 \(L4, L40S.*H100 and H200"):
        parse_target("sm90")
    with pytest.raises(EngineError, match="no target 'ada'"):
        parse_target("ada")


def test_the_way_of_the_full_tensorrt_is_taken_up_to_the_driver(
    demo: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TensorRT-RTX in its place, which builds, and then cannot load what it built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler = replace(ahead_of_time(["sm89"]).library, compiler="tensorrt")
    here = engines.Toolchain(compiler, ("8.9",))
    options = Options(optimization_level=1, workspace_bytes=2**30)
    before, seen = recorded(demo), []

    with pytest.raises(EngineError, match="Could not deserialize engine"):
        here.build(demo, "fp32", options, detail=seen.append)

    assert "Building engine" in seen
    (cache,) = (tmp_path / "cache" / "tritonclip" / "tensorrt").glob("*.timing")
    assert cache.name == f"{compiler.version}-sm89.timing"
    assert recorded(demo) == before
    read_from_it = ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype")
    for name in (*read_from_it, "get_tensor_shape", "device_memory_size_v2"):
        assert hasattr(compiler.module.ICudaEngine, name)


@pytest.mark.skipif(library._folder_of("tensorrt") is not None, reason="it is installed")
def test_without_tensorrt_there_are_three_ways_out() -> None:
    with pytest.raises(EngineError) as caught:
        engines.for_this_gpu()
    for way in ('pip install "tritonclip[tensorrt]"', "--container", "--aot --target"):
        assert way in str(caught.value)


def test_a_tensorrt_without_strong_typing_is_too_old() -> None:
    library.check_version("10.12.0.36")
    library.check_version("11.1.0.106")
    with pytest.raises(
        EngineError, match=r'10\.11\.0\.33 is too old.*pip install "tensorrt>=10.12"'
    ):
        library.check_version("10.11.0.33")


def test_the_reason_is_found_in_the_log_of_either_compiler() -> None:
    polygraphy = [
        "[E] [checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35: ...)",
        "[E] Error Code 2: OutOfMemory (Requested size was 9663676416 bytes.)",
        "[!] Invalid Engine. Please ensure the engine was built correctly",
    ]
    assert "ran out of memory (Error Code 2: OutOfMemory" in explain(polygraphy)
    assert "smaller --max-batch" in explain(polygraphy)
    trtexec = [
        "[11/22/2026-03:00:00] [I] Start parsing network model.",
        "[11/22/2026-03:00:01] [E] [TRT] ModelImporter.cpp:140: While parsing node number 1 [Det]:",
        "[11/22/2026-03:00:01] [E] Failed to parse onnx file",
    ]
    assert explain(trtexec) == "ModelImporter.cpp:140: While parsing node number 1 [Det]:"
    assert explain(["Cuda failure: no CUDA-capable device is detected", ""]).startswith("Cuda")
