"""Triton Python backend: an encoder in ONNX Runtime, for servers without its native backend.

Serves either tower: the tensor names come from the graph. Requests of one shape are one
concatenation, one run and one split; those of texts may differ in length (see `texts`).
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: one ONNX Runtime session."""

    def initialize(self, args):
        """Open the graph in this folder on the device that the parameters name."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_threads"]["string_value"])
        # Idle threads that spin take the cores that preprocessing needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of the memory for every shape of input gains nothing and is kept for each.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        providers = _providers(
            parameters["device"]["string_value"], int(args["model_instance_device_id"])
        )
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=providers)
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name
        self.embed_texts = None
        if "padding" in parameters:
            import texts  # only text encoders have it

            on_cpu = self.session.get_providers()[0] == "CPUExecutionProvider"
            self.embed_texts = partial(
                texts.embed,
                run=self._run,
                tokens_a_run=texts.CPU_TOKENS_A_RUN if on_cpu else texts.GPU_TOKENS_A_RUN,
                **json.loads(parameters["padding"]["string_value"]),
            )

    def execute(self, requests):
        """Answer each request with EMBEDDING [batch, dim], float32."""
        inputs = [
            pb_utils.get_input_tensor_by_name(request, self.input).as_numpy()
            for request in requests
        ]
        if self.embed_texts:
            embeddings = self.embed_texts(inputs)
        else:
            embeddings = self._run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs))
        ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(self.output, rows)])
            for rows in np.split(embeddings, ends)
        ]

    def _run(self, batch):
        return self.session.run([self.output], {self.input: batch})[0]


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
    # TF32 would round FP32 products to ten bits.
    return [
        ("CUDAExecutionProvider", {"device_id": index, "use_tf32": 0}),
        "CPUExecutionProvider",
    ]
