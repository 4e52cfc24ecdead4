"""Options of `trtexec` and of the builder are called what TensorRT calls them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tritonclip_export.bundle import Artifact, HardwareCompatibility, Profile
from tritonclip_export.tensorrt import library, trtexec
from tritonclip_export.tensorrt.engines import Job
from tritonclip_export.tensorrt.options import Options

# What the parsers of `BaseModelOptions`, `BuildOptions` and `ReportingOptions` in trtexec's source
# take (samples/common/sampleOptions.cpp of github.com/NVIDIA/TensorRT, main branch, TensorRT 10).
# In 11 weak typing is gone, and `build_engines.sh` asks for --stronglyTyped before it uses it.
TRTEXEC = {
    *("onnx", "skipInference", "profilingVerbosity", "builderOptimizationLevel", "noTF32"),
    *("memPoolSize", "hardwareCompatibilityLevel", "versionCompatible", "refit", "profile"),
    *("minShapes", "optShapes", "maxShapes", "saveEngine", "exportLayerInfo", "timingCacheFile"),
    *("stronglyTyped", "help"),
}
LEVELS = {"ampere+", "sameComputeCapability"}


def test_trtexec_knows_every_flag_that_it_is_given() -> None:
    profile = Profile(min=(1, 3, 64, 64), opt=(8, 3, 64, 64), max=(32, 3, 64, 64))
    given = []
    levels: tuple[HardwareCompatibility, ...] = ("same_compute_capability", "ampere_plus")
    for precision in ("fp32", "fp16"):
        for level in levels:
            options = Options(
                workspace_bytes=2**30,
                hardware_compatibility=level,
                version_compatible=True,
                refittable=True,
            )
            graph = Artifact.model_construct(tower="image", file="a.onnx", precision=precision)
            given += trtexec.flags(Job(graph, (profile, profile), ""), options)
    script = Path(trtexec.__file__).with_name("build_engines.sh").read_text()
    lines = (line for line in script.splitlines(True) if not line.startswith("#"))
    of_trtexec = "".join(line for line in lines if "nvidia-smi" not in line)
    given += re.findall(r"(?<=[\s=])--[a-zA-Z]+\b(?!-)", of_trtexec)

    assert {flag.removeprefix("--").partition("=")[0] for flag in given} == TRTEXEC
    assert {flag.partition("=")[2] for flag in given if flag.startswith("--hardware")} == LEVELS


def test_the_builder_of_tensorrt_11_has_everything_that_is_set() -> None:
    # TensorRT-RTX, which installs without a GPU, has the API of TensorRT 11.
    trt = library.load("tensorrt-rtx").module
    assert {"TF32", "REFIT", "VERSION_COMPATIBLE"} <= set(dir(trt.BuilderFlag))
    assert {"SAME_COMPUTE_CAPABILITY", "AMPERE_PLUS"} <= set(dir(trt.HardwareCompatibilityLevel))
    assert "WORKSPACE" in dir(trt.MemoryPoolType)
    configurable = {"builder_optimization_level", "hardware_compatibility_level"}
    assert configurable | {"progress_monitor"} <= set(dir(trt.IBuilderConfig))


def test_polygraphy_takes_every_option_that_is_chosen() -> None:
    library.load("tensorrt-rtx")  # a process has one, and other tests want this
    from polygraphy.backend.trt import CreateConfig

    inherited = [inspect.signature(kind.__init__) for kind in CreateConfig.__mro__]
    taken = {name for signature in inherited for name in signature.parameters}
    chosen = {name for name in Options().of_engine if name != "workspace_bytes"}
    renamed = {"optimization_level", "hardware_compatibility"}
    ours = (chosen - renamed) | {"builder_optimization_level", "hardware_compatibility_level"}
    assert ours | {"memory_pool_limits", "tf32", "load_timing_cache", "progress_monitor"} <= taken
