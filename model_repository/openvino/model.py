"""Triton Python backend: an encoder in OpenVINO, on the CPU.

Serves either tower: the tensor names come from the model.
"""

import json
import threading
from pathlib import Path

import cores
import triton_python_backend_utils as pb_utils
from answers import answering


class TritonPythonModel:
    """One instance: one compiled model."""

    def initialize(self, args):
        """Compile the model in this folder, to be executed as the parameters say."""
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(args["model_repository"]) / args["model_version"]
        precision = parameters["execution_precision"]["string_value"]
        threads = int(parameters["intra_op_threads"]["string_value"])
        streams = cores.streams(threads) if "one_thread_a_run" in parameters else 1
        openvino = _openvino()
        options = {
            **({"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}),
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": streams if streams > 1 else cores.threads(threads),
            # Instances are processes that do not know of each other: each would pin its threads to
            # the same cores, which preprocessing needs, too.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", options)
        executed = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if executed != precision:
            pb_utils.Logger.log_warn(
                f"{args['model_name']}: this CPU has no {precision}, so the encoder runs in "
                f"{executed}: as exact, but slower"
            )
        local = threading.local()  # each stream has a request for inference of its own

        def run(batch):
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            # A copy, as the next inference overwrites OpenVINO's own.
            return local.request.infer([batch], share_inputs=True)[0]

        read, written = compiled.input(0).any_name, compiled.output(0).any_name
        self.answer = answering(run, read, written, parameters, folder, streams=streams)

    def execute(self, requests):
        """Answer each request with EMBEDDING [batch, dim], float32."""
        return self.answer(requests)


def _openvino():
    try:
        import openvino
    except ImportError as error:
        raise pb_utils.TritonModelException(
            f"this encoder is for OpenVINO, which the server's Python does not have ({error}): "
            'pip install "tritonclip[openvino]"; for a container, build its image with '
            "--build-arg PACKAGES=openvino"
        ) from error
    return openvino
