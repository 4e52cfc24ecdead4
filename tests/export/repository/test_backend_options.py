"""What the configs say to Triton's backends is what those backends read: a misspelt option is
ignored there without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from engine_records import TARGET, both, copy_of
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution, Runtime
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import PREFIX

# https://github.com/triton-inference-server/onnxruntime_backend/blob/main/README.md, "Model Config
# Options": the parameters of a model.
ONNX_RUNTIME = {
    *("intra_op_thread_count", "inter_op_thread_count", "execution_mode", "level"),
    *("enable_mem_arena", "enable_mem_pattern", "memory.enable_memory_arena_shrinkage"),
}
# The same, "Parameter mapping": of the accelerator `tensorrt`.
TENSORRT_ACCELERATOR = {
    *("precision_mode", "max_workspace_size_bytes", "trt_max_partition_iterations"),
    *("trt_min_subgraph_size", "trt_engine_cache_enable", "trt_engine_cache_path"),
    *("trt_engine_cache_prefix", "trt_timing_cache_enable", "trt_timing_cache_path"),
    *("trt_force_timing_cache", "trt_builder_optimization_level", "trt_auxiliary_streams"),
    *("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes"),
    *("trt_cuda_graph_enable", "trt_layer_norm_fp32_fallback"),
}
# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html: that of `cuda`, whose
# parameters the backend hands on as they are.
CUDA_ACCELERATOR = {
    *("device_id", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search"),
    *("do_copy_in_default_stream", "cudnn_conv_use_max_workspace", "enable_cuda_graph"),
    *("use_tf32", "prefer_nhwc", "use_ep_level_unified_stream", "tunable_op_enable"),
}
# https://github.com/triton-inference-server/tensorrt_backend: the fields of the config say it all.
TENSORRT: set[str] = set()

EXECUTIONS: dict[str, tuple[Runtime, dict[str, Any]]] = {
    "python": ("python", {}),
    "onnxruntime on a CPU": ("onnxruntime", {"device": "cpu", "threads": 2}),
    "onnxruntime on a GPU": ("onnxruntime", {"device": "gpu", "precision": "fp32"}),
    "onnxruntime with TensorRT": (
        "onnxruntime",
        {"device": "gpu", "accelerator": "tensorrt", "engine_cache": "/engines"},
    ),
    "tensorrt": ("tensorrt", {"target": TARGET}),
}


@pytest.fixture(params=EXECUTIONS)
def configs(
    request: pytest.FixtureRequest, bundle: Callable[[str], Bundle], tmp_path: Path
) -> dict[str, Any]:
    """Every config that `assemble` writes for a runtime, by model."""
    runtime, how = EXECUTIONS[request.param]
    demo = bundle("demo")
    if runtime == "tensorrt":
        demo = both(copy_of(demo, tmp_path / "demo"))
    assemble([demo], tmp_path / "repository", runtime=runtime, execution=Execution(**how))
    files = sorted((tmp_path / "repository").glob("*/config.pbtxt"))
    return {file.parent.name: read_config(file) for file in files}


def test_a_recent_tritons_schema_knows_every_field(configs: dict[str, Any]) -> None:
    # `read_config` refuses a name that this schema does not have; 2.6x is what 25.x and 26.x serve.
    assert Version(version("tritonclient")) >= Version("2.60")
    assert len(configs) == 8


def test_backends_read_every_parameter_that_is_set(configs: dict[str, Any]) -> None:
    known = {"onnxruntime": ONNX_RUNTIME, "tensorrt": TENSORRT}
    for config in configs.values():
        if config.backend in known:
            said = {name for name in config.parameters if not name.startswith(PREFIX)}
            assert said <= known[config.backend]
        for name, options in _accelerators(config):
            assert (
                set(options) <= {"cuda": CUDA_ACCELERATOR, "tensorrt": TENSORRT_ACCELERATOR}[name]
            )


def _accelerators(config: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for one in config.optimization.execution_accelerators.gpu_execution_accelerator:
        yield one.name, dict(one.parameters)
