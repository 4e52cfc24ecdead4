"""Triton Python backend: an encoder that costs nothing, the same unit vector for everything.

All around it is as in `model_repository/onnx_runtime`.
"""

import json
from pathlib import Path

import numpy as np
from answers import answering


class TritonPythonModel:
    """One instance."""

    def initialize(self, args):
        """Learn the names and the dim from the configuration."""
        config = json.loads(args["model_config"])
        output = config["output"][0]
        dim = int(output["dims"][-1])

        def run(batch):
            return np.full((len(batch), dim), dim**-0.5, dtype=np.float32)

        folder = Path(args["model_repository"]) / args["model_version"]
        read, parameters = config["input"][0]["name"], config["parameters"]
        self.answer = answering(run, read, output["name"], parameters, folder)

    def execute(self, requests):
        """Answer each request with EMBEDDING [batch, dim], float32."""
        return self.answer(requests)
