"""Triton Python backend: VECTOR -> EMBEDDING and SCORES, one product for all of a batch."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from head_files import Head


class TritonPythonModel:
    """One instance: the heads, in order."""

    def initialize(self, args):
        """Read the heads that the parameters name from this folder."""
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(args["model_repository"]) / args["model_version"]
        files = json.loads(parameters["heads"]["string_value"])
        self.heads = [Head.read(folder / file) for file in files]

    def execute(self, requests):
        """Answer each request with its VECTOR, and SCORES [batch, scores], float32."""
        batches = [
            pb_utils.get_input_tensor_by_name(request, "VECTOR").as_numpy() for request in requests
        ]
        vectors = np.concatenate(batches)
        scores = np.concatenate([head.scores(vectors) for head in self.heads], axis=1)
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("EMBEDDING", batch), pb_utils.Tensor("SCORES", part)]
            )
            for batch, part in zip(batches, np.split(scores, ends), strict=True)
        ]
