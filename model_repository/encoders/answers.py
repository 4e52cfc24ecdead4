"""What an encoder in Triton's Python backend answers, whatever library runs it.

For either tower. Requests of one shape are one concatenation, one run and one split; those of texts
may differ in length (see `texts`).
"""

import json
from functools import partial

import numpy as np
import triton_python_backend_utils as pb_utils


def answering(run, input_name, output_name, parameters, *, on_gpu=False):
    """A function that answers a list of requests, each with embeddings [rows, dim], float32.

    Args:
        run: input [rows, ...] -> embeddings [rows, dim], which the next run leaves alone.
        input_name: of the tensor that requests bring.
        output_name: of the tensor that answers them.
        parameters: of the model; with `padding`, requests bring texts at their own lengths.
        on_gpu: whether it runs on one, where padding costs less.
    """
    embed = _embedding(run, parameters, on_gpu)

    def answer(requests):
        inputs = [
            pb_utils.get_input_tensor_by_name(request, input_name).as_numpy()
            for request in requests
        ]
        ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(output_name, rows)])
            for rows in np.split(embed(inputs), ends)
        ]

    return answer


def _embedding(run, parameters, on_gpu):
    if "padding" not in parameters:
        return lambda inputs: run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs))
    import texts  # only text encoders have it

    return partial(
        texts.embed,
        run=run,
        tokens_a_run=texts.GPU_TOKENS_A_RUN if on_gpu else texts.CPU_TOKENS_A_RUN,
        **json.loads(parameters["padding"]["string_value"]),
    )
