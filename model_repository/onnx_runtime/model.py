"""Triton Python backend: an encoder in ONNX Runtime, for servers without its native backend.

Serves either tower: the tensor names come from the graph.
"""

import json
from pathlib import Path

import cores
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from answers import answering

# On a CPU, larger batches outgrow its caches: 32 images through ViT-B/32 ran 5 to 10 % slower than
# in parts of 8, with 60 MiB (INT8) to 130 MiB (FP32) more memory (two vCPUs of an AMD EPYC, ONNX
# Runtime 1.31).
CPU_ROWS_A_RUN = 8


class TritonPythonModel:
    """One instance: one ONNX Runtime session."""

    def initialize(self, args):
        """Open the graph in this folder on the device that the parameters name."""
        parameters = json.loads(args["model_config"])["parameters"]
        threads = int(parameters["intra_op_threads"]["string_value"])
        streams = cores.streams(threads) if "one_thread_a_run" in parameters else 1
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1 if streams > 1 else cores.threads(threads)
        # Idle threads that spin take the cores that preprocessing needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of the memory for every shape of input gains nothing and is kept for each.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        providers = _providers(
            parameters["device"]["string_value"], int(args["model_instance_device_id"])
        )
        folder = Path(args["model_repository"]) / args["model_version"]
        session = ort.InferenceSession(folder / "model.onnx", options, providers=providers)
        on_gpu = session.get_providers()[0] != "CPUExecutionProvider"
        if parameters["device"]["string_value"] == "gpu" and not on_gpu:
            # ONNX Runtime falls back to the CPU by itself where CUDA does not load.
            raise pb_utils.TritonModelException(
                "this encoder is for a GPU, and ONNX Runtime cannot load CUDA here; the log above "
                'says why. pip install "onnxruntime-gpu[cuda,cudnn]" brings all but the driver'
            )
        read, written = session.get_inputs()[0].name, session.get_outputs()[0].name

        def run(batch):
            return session.run([written], {read: batch})[0]

        self.answer = answering(
            run,
            read,
            written,
            parameters,
            folder,
            on_gpu=on_gpu,
            rows_a_run=None if on_gpu else CPU_ROWS_A_RUN,
            streams=streams,
        )

    def execute(self, requests):
        """Answer each request with EMBEDDING [batch, dim], float32."""
        return self.answer(requests)


def _providers(device, index):
    """ONNX Runtime's execution providers for `gpu`, `cpu` or `auto`: a GPU if there is one."""
    available = ort.get_available_providers()
    if device == "gpu" and "CUDAExecutionProvider" not in available:
        # On the CPU, a graph in half precision ends the process.
        raise pb_utils.TritonModelException(
            f"this encoder is for a GPU, and the server's ONNX Runtime has only "
            f"{', '.join(available)}: install onnxruntime-gpu in place of onnxruntime, or assemble "
            f"with --device cpu"
        )
    if device == "cpu" or "CUDAExecutionProvider" not in available:
        return ["CPUExecutionProvider"]
    if hasattr(ort, "preload_dlls"):  # finds CUDA and cuDNN where pip has put them
        ort.preload_dlls()
    # TF32 would round FP32 products to ten bits.
    return [
        ("CUDAExecutionProvider", {"device_id": index, "use_tf32": 0}),
        "CPUExecutionProvider",
    ]
