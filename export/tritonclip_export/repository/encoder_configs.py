"""The fields of an encoder's `ModelConfig` that depend on what executes it.

Written from the source of Triton's backends: `instance_state.cc` of tensorrt_backend,
`onnxruntime.cc` of onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tritonclip_export.bundle import Precision
from tritonclip_export.errors import RepositoryError
from tritonclip_export.openvino.library import EXECUTED_IN
from tritonclip_export.repository.encoders import Encoder
from tritonclip_export.repository.execution import HALF, Execution
from tritonclip_export.repository.plans import Item, Plans, by_capability, default_file
from tritonclip_export.repository.runtimes import IN_PYTHON, Device, Runtime
from tritonclip_export.served.parameters import PREFIX

TENSORRT_PARAMETER = f"{PREFIX}tensorrt"
VERSION_COMPATIBLE_PARAMETER = f"{PREFIX}version_compatible"

DATA_TYPES = {
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "fp32": "TYPE_FP32",
    "fp16": "TYPE_FP16",
    "bf16": "TYPE_BF16",
}

# Where launching kernels takes as long as running them, beside the batches that engines are tuned
# for.
SMALL_BATCHES = (1, 2, 4, 8)

# What ONNX Runtime's TensorRT tunes for; the default of `build`.
ACCELERATOR_BATCH = 16


def complete(config: Any, encoder: Encoder, runtime: Runtime, execution: Execution) -> None:
    """Set what `runtime` needs in `config`, whose name, dims and batch limit are set already.

    Raises:
        RepositoryError: the engine's tensors are not the encoder's.
    """
    config.backend = "python" if runtime in IN_PYTHON else runtime
    if "padding" in config.parameters:
        config.input[0].allow_ragged_batch = True
    if runtime == "python":
        _python(config, encoder, execution)
    elif runtime == "openvino":
        _openvino(config, encoder, execution)
    elif runtime == "onnxruntime":
        _onnxruntime(config, encoder, execution)
    else:
        _tensorrt(config, encoder, execution)


def warmup_batches(encoder: Encoder, item: Item, limit: int) -> list[int]:
    """The batches of `item` that are run before a server counts as ready."""
    tuned = encoder.plans.tuned_batches(item, limit) if encoder.plans else []
    return sorted({1, *tuned})


def _python(config: Any, encoder: Encoder, execution: Execution) -> None:
    device = "cpu" if encoder.precision == "int8" else execution.where or "auto"
    _instances(config, "KIND_GPU" if device == "gpu" else "KIND_CPU", execution)
    config.parameters["device"].string_value = device
    config.parameters["intra_op_threads"].string_value = str(execution.threads or 0)
    if device != "gpu":
        _spread(config, encoder)


def _openvino(config: Any, encoder: Encoder, execution: Execution) -> None:
    _instances(config, "KIND_CPU", execution)
    config.parameters["intra_op_threads"].string_value = str(execution.threads or 0)
    assert encoder.precision is not None  # as only engines may still be missing
    executed = EXECUTED_IN[encoder.precision]
    config.parameters["execution_precision"].string_value = executed
    _spread(config, encoder)


def _spread(config: Any, encoder: Encoder) -> None:
    """Where threads are better used apart: only texts of any length are cut into parts."""
    if "padding" in config.parameters and encoder.is_small:
        config.parameters["one_thread_a_run"].string_value = "true"


def _onnxruntime(config: Any, encoder: Encoder, execution: Execution) -> None:
    device = _device(encoder.precision, execution.where)
    kind = {"gpu": "KIND_GPU", "cpu": "KIND_CPU", None: "KIND_AUTO"}[device]
    _instances(config, kind, execution)
    if device != "gpu":
        config.parameters["intra_op_thread_count"].string_value = str(execution.threads or 0)
    if device != "cpu":
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        if execution.accelerator == "tensorrt":
            _accelerate(accelerators.add(name="tensorrt"), config, encoder, execution)
        if encoder.precision == "fp32":
            # Else products are rounded to TF32's ten bits, and the embeddings are no longer those
            # that were verified; fp16 is the faster choice, and the measured one.
            accelerators.add(name="cuda").parameters["use_tf32"] = "0"


def _device(precision: Precision | None, wanted: Device | None) -> Device | None:
    if precision in HALF:
        return "gpu"
    return "cpu" if precision == "int8" else wanted


def _accelerate(accelerator: Any, config: Any, encoder: Encoder, execution: Execution) -> None:
    """TensorRT inside ONNX Runtime.

    Without a `precision_mode` it builds a strongly typed network, so that the graph decides. With
    the range of shapes it builds one engine at load time, instead of another for each new shape.
    """
    tensor = config.input[0].name
    limit = config.max_batch_size
    least, most = min(encoder.items), max(encoder.items)
    shapes = {
        "trt_profile_min_shapes": (1, *least),
        "trt_profile_opt_shapes": (min(ACCELERATOR_BATCH, limit), *most),
        "trt_profile_max_shapes": (limit, *most),
    }
    for key, shape in shapes.items():
        accelerator.parameters[key] = f"{tensor}:{'x'.join(map(str, shape))}"
    if execution.engine_cache is not None:
        for what in ("engine", "timing"):
            accelerator.parameters[f"trt_{what}_cache_enable"] = "1"
            accelerator.parameters[f"trt_{what}_cache_path"] = execution.engine_cache


def _tensorrt(config: Any, encoder: Encoder, execution: Execution) -> None:
    config.platform = "tensorrt_plan"  # profiles are refused for any other
    group = _instances(config, "KIND_GPU", execution)
    if encoder.purposes:
        config.default_model_filename = default_file(encoder.purposes)
        for capability, file in by_capability(encoder.purposes).items():
            config.cc_model_filenames[capability] = file
    plans = encoder.plans
    if plans is None:
        return
    _take_bindings(config, plans)
    group.profile.extend(str(index) for index in range(plans.profiles))
    limit = config.max_batch_size
    tuned = {batch for item in encoder.items for batch in plans.tuned_batches(item, limit)}
    preferred = sorted({*tuned, limit} - {1})
    config.dynamic_batching.preferred_batch_size.extend(preferred)
    if execution.cuda_graphs:
        config.optimization.cuda.graphs = True
        # The backend tries every shape that is listed with every profile, and logs an error for
        # each that does not fit. Where several profiles leave it no list, it records the opt shape
        # of each by itself, at batch 1, the preferred ones and the limit.
        if plans.profiles == 1:
            _list_graphs(config, encoder.items, {*SMALL_BATCHES, *preferred})
    config.parameters[TENSORRT_PARAMETER].string_value = ", ".join(plans.versions)
    if plans.version_compatible:
        config.parameters[VERSION_COMPATIBLE_PARAMETER].string_value = "true"


def _instances(config: Any, kind: str, execution: Execution) -> Any:
    """Instances of a kind; those on GPUs on each of them, where none is named on all there are."""
    group = config.instance_group.add(kind=kind, count=execution.instances)
    group.gpus.extend(execution.gpus or ())
    return group


def _take_bindings(config: Any, plans: Plans) -> None:
    """The engine's own data types and dims."""
    bindings = {(str(binding.mode), binding.name): binding for binding in plans.bindings}
    tensors = {("input", tensor.name): tensor for tensor in config.input}
    tensors |= {("output", tensor.name): tensor for tensor in config.output}
    if bindings.keys() != tensors.keys():
        there, wanted = (
            ", ".join(f"{mode} {name}" for mode, name in sorted(keys))
            for keys in (bindings, tensors)
        )
        raise RepositoryError(
            f"the engines of {config.name} have the tensors {there}, not {wanted}; they were not "
            "built from a graph of `tritonclip export`"
        )
    for key, tensor in tensors.items():
        tensor.data_type = DATA_TYPES[bindings[key].dtype]
        tensor.dims[:] = bindings[key].shape[1:]


def _list_graphs(config: Any, items: Sequence[Item], batches: Iterable[int]) -> None:
    """Have the launches of these shapes recorded."""
    for item in items:
        for batch in sorted(batches):
            if batch <= config.max_batch_size:
                spec = config.optimization.cuda.graph_spec.add(batch_size=batch)
                spec.input[config.input[0].name].dim[:] = item
