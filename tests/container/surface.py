"""A Triton Python model that tells what the real `triton_python_backend_utils` offers.

Answers TEXT with JSON: class -> member -> pybind11's signature, function -> signature.
"""

import inspect
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Tells the same, whatever it is asked."""

    def execute(self, requests):
        """Answer each request with SURFACE."""
        surface = json.dumps({name: _described(value) for name, value in vars(pb_utils).items()})
        tensor = pb_utils.Tensor("SURFACE", np.array([surface.encode()], dtype=object))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]


def _described(value):
    if inspect.isclass(value) and value.__module__ == "c_python_backend_utils":
        names = [name for name in vars(value) if name == "__init__" or not name.startswith("_")]
        return {name: getattr(value, name).__doc__ for name in names}
    return value.__doc__ if inspect.isbuiltin(value) else None
