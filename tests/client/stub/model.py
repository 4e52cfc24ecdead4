"""A Python-backend model that keeps the wire contract without a neural network.

The vector of an image is its mean colour; that of a text is the colour it names, or a hash of it.
An item may begin with commands, each ended by a semicolon: `sleep SECONDS`, `busy KEY TIMES`
(refuse the request as overloaded that often), `crash`, `odd` (refuse it without naming an item) and
`narrow` (answer with the wrong dim).
"""

import hashlib
import io
import time

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class TritonPythonModel:
    def initialize(self, args):
        self.noun = "image" if "image" in args["model_name"] else "text"
        self.seen = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, self.noun.upper())
        items = tensor.as_numpy().reshape(-1)
        vectors, complaints, dim = [], [], 4
        for i, item in enumerate(items):
            while b";" in item[:40]:
                command, _, item = item.partition(b";")
                match command.decode().split():
                    case ["sleep", seconds]:
                        # Not even when the client hangs up: an ensemble does not pass that on.
                        time.sleep(float(seconds))
                    case ["busy", key, times]:
                        self.seen[key] = self.seen.get(key, 0) + 1
                        if self.seen[key] <= int(times):
                            return failure("queue full", pb_utils.TritonError.UNAVAILABLE)
                    case ["crash"]:
                        return failure("kaboom", pb_utils.TritonError.INTERNAL)
                    case ["odd"]:
                        return failure("no idea", pb_utils.TritonError.INVALID_ARG)
                    case ["narrow"]:
                        dim = 3
            try:
                vectors.append(image_vector(item) if self.noun == "image" else text_vector(item))
            except Exception as error:
                complaints.append(f"{self.noun} {i}: {type(error).__name__} {error}")
        if complaints:
            return failure("\n".join(complaints), pb_utils.TritonError.INVALID_ARG)
        output = np.array(vectors, dtype=np.float32)[:, :dim]
        return pb_utils.InferenceResponse([pb_utils.Tensor("EMBEDDING", output)])


def failure(message, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def image_vector(encoded):
    return unit(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).mean(axis=(0, 1)))


def text_vector(encoded):
    text = encoded.decode()
    if "forbidden" in text:
        raise ValueError(f"forbidden in {text}")
    for name, colour in COLOURS.items():
        if name in text:
            return unit(colour)
    return unit(list(hashlib.sha256(encoded).digest()[:3]))


def unit(colour):
    vector = np.array([*colour, 32], dtype=np.float32)
    return vector / np.linalg.norm(vector)
