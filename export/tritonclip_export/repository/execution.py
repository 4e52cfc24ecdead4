"""How a runtime executes the encoders: precision, device, instances, threads, accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tritonclip_export.bundle import Precision
from tritonclip_export.errors import RepositoryError
from tritonclip_export.repository.runtimes import IN_PYTHON, Accelerator, Device, Runtime
from tritonclip_export.tensorrt import serving_version
from tritonclip_export.tensorrt.serving_version import Target

HALF: tuple[Precision, ...] = ("fp16", "bf16")


@dataclass(frozen=True)
class Execution:
    """How a runtime executes the encoders.

    Attributes:
        precision: None for the fastest that the bundle has and the device is good at: fp16 on a
            GPU, int8 on a CPU that multiplies 8-bit integers, with OpenVINO bf16 on one that
            multiplies those; else fp32.
        device: None for a GPU where there is one.
        gpus: the numbers of those that encoders are spread over, as CUDA counts them on the server;
            none for every one that it has; None where nothing was said, which is one for the
            runtime `python` and every one for the others.
        instances: of each encoder, on each GPU or on the CPU.
        threads: of an instance on the CPU; None for one a core.
        accelerator: what executes an ONNX graph on the GPU, inside ONNX Runtime.
        engine_cache: folder, on the server, where the accelerator `tensorrt` keeps what it built.
        cuda_graphs: whether the tensorrt runtime replays recorded launches.
        target: the TensorRT that loads the engines; None for that of the usual container.
    """

    precision: Precision | None = None
    device: Device | None = None
    gpus: tuple[int, ...] | None = None
    instances: int = 1
    threads: int | None = None
    accelerator: Accelerator = "cuda"
    engine_cache: str | None = None
    cuda_graphs: bool = True
    target: Target | None = None

    @property
    def where(self) -> Device | None:
        """The device, which naming GPUs names as well."""
        return self.device if self.gpus is None else "gpu"

    @cached_property
    def tensorrt(self) -> Target:
        """The TensorRT that loads the engines."""
        return self.target or serving_version.find()

    def check(self, runtime: Runtime) -> None:
        """Refuse what cannot be together.

        Raises:
            RepositoryError: says what does not go with what, and what does.
        """
        if refusal := self._refusal(runtime):
            raise RepositoryError(refusal)

    def _refusal(self, runtime: Runtime) -> str | None:
        """What does not go with what; None if all does."""
        # Without a device, a Python model is on the CPU unless it finds a GPU.
        device = self.where or ("cpu" if runtime in IN_PYTHON else None)
        if self.gpus is not None and self.device == "cpu":
            return "--gpus and --device cpu are two places; leave one of them out"
        match runtime, device, self.precision:
            case "openvino", "gpu", _:
                return (
                    "--runtime openvino serves on CPUs only; for a GPU, choose python, onnxruntime "
                    "or tensorrt"
                )
            case "openvino", _, "fp16":
                return "--runtime openvino serves fp32, bf16 or int8: CPUs compute fp16 no faster"
            case "tensorrt", "cpu", _:
                return "--runtime tensorrt serves on GPUs only; --runtime onnxruntime also on CPUs"
            case "tensorrt", _, "int8":
                return (
                    "int8 graphs are quantised for CPUs, and TensorRT takes fp16, bf16 or fp32; "
                    "--runtime python and onnxruntime serve int8"
                )
            case _, "gpu", "int8":
                return (
                    "int8 graphs are quantised for CPUs: leave --device gpu or --gpus out, or "
                    "serve fp16"
                )
            case "python" | "onnxruntime", "cpu", "fp16" | "bf16":
                return (
                    f"{self.precision} graphs run on GPUs only: ONNX Runtime crashes on them on a "
                    "CPU. Serve fp32 or int8 there; for a GPU, say --device gpu"
                )
        on_cpu = device == "cpu" or self.precision == "int8"
        if self.threads is not None and not on_cpu:
            return "--threads is for encoders on a CPU; say --device cpu with it"
        if self.accelerator == "tensorrt" and (on_cpu or runtime != "onnxruntime"):
            return "--accelerator tensorrt goes with --runtime onnxruntime on a GPU"
        if self.engine_cache is not None and self.accelerator != "tensorrt":
            return "--engine-cache goes with --accelerator tensorrt"
        return None
