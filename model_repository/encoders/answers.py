"""What an encoder in Triton's Python backend answers, whatever library runs it.

For either tower. Requests of one shape are one concatenation, one run and one split; those of texts
may differ in length (see `texts`), and may bring the texts themselves (see `captions`).
"""

import json
from functools import partial

import numpy as np
import triton_python_backend_utils as pb_utils


def answering(
    run, input_name, output_name, parameters, folder, *, on_gpu=False, rows_a_run=None, streams=1
):
    """A function that answers a list of requests, each with embeddings [rows, dim], float32.

    Args:
        run: input [rows, ...] -> embeddings [rows, dim], which the next run leaves alone.
        input_name: of the tensor that requests bring.
        output_name: of the tensor that answers them.
        parameters: of the model; with `padding`, requests bring texts at their own lengths, with
            `cleaning`, they may bring TEXT instead.
        folder: of the model's version.
        on_gpu: whether it runs on one, where padding costs less.
        rows_a_run: above which a batch of one shape is run in parts; None for always whole.
        streams: how many parts of a batch of texts `run` takes at a time, each in its own thread.
    """
    read = _reading(input_name, parameters, folder)
    embed = _embedding(run, parameters, on_gpu, rows_a_run, streams)

    def respond(embeddings):
        return pb_utils.InferenceResponse([pb_utils.Tensor(output_name, embeddings)])

    def answer(requests):
        inputs = read(requests)
        batch = [rows for rows in inputs if isinstance(rows, np.ndarray)]
        try:
            embeddings = embed(batch) if batch else ()
        except Exception as error:  # whatever the library raises
            if len(requests) == 1:
                return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))]
            # Token ids that the vocabulary does not have, say: only their own request fails.
            return [response for request in requests for response in answer([request])]
        responses, start = [], 0
        for request, rows in zip(requests, inputs, strict=True):
            if isinstance(rows, pb_utils.TritonError):
                responses.append(pb_utils.InferenceResponse(error=rows))
            elif isinstance(rows, np.ndarray):
                responses.append(respond(embeddings[start : start + len(rows)]))
                start += len(rows)
            else:  # answers it later
                responses.append(rows(request, embed, respond))
        return responses

    return answer


def _reading(input_name, parameters, folder):
    """A function from requests to the rows of each, or what answers it instead."""

    def read(requests):
        return [
            pb_utils.get_input_tensor_by_name(request, input_name).as_numpy()
            for request in requests
        ]

    if "cleaning" not in parameters:
        return read
    from captions import Captions  # only text encoders that take texts have it

    return Captions(parameters, folder, read)


def _embedding(run, parameters, on_gpu, rows_a_run, streams):
    if "padding" not in parameters:
        return partial(_embed, run=run, rows_a_run=rows_a_run)
    import texts  # only text encoders have it

    return partial(
        texts.embed,
        run=run,
        tokens_a_run=texts.GPU_TOKENS_A_RUN if on_gpu else texts.CPU_TOKENS_A_RUN,
        streams=texts.Streams(streams),
        **json.loads(parameters["padding"]["string_value"]),
    )


def _embed(inputs, run, rows_a_run):
    """Embeddings of all rows, from parts of equal size."""
    batch = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
    if rows_a_run is None or len(batch) <= rows_a_run:
        return run(batch)
    parts = np.array_split(batch, -(-len(batch) // rows_a_run))
    return np.concatenate([run(part) for part in parts])
