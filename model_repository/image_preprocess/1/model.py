"""Triton Python backend: IMAGE (encoded files) -> PIXELS.

Every image of every request in the dynamic batch decodes in one thread pool; Pillow releases the
GIL while it decodes and resizes. A request with bad images fails alone, naming each of them.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from pixels import BadImageError, ImageTransform, set_up_pillow


class TritonPythonModel:
    """One instance: a transform and the threads that apply it."""

    def initialize(self, args):
        """Read the transform from the model's parameters and start the threads."""
        self.transform = ImageTransform.from_parameters(
            json.loads(args["model_config"])["parameters"]
        )
        threads = len(os.sched_getaffinity(0))
        set_up_pillow(threads)
        self.threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")

    def execute(self, requests):
        """Answer each request with PIXELS [batch, 3, height, width], uint8, or with an error."""
        pending = [self._start(request) for request in requests]
        return [
            _respond(pixels, [future.result() for future in images]) for pixels, images in pending
        ]

    def finalize(self):
        """Stop the threads."""
        self.threads.shutdown(cancel_futures=True)

    def _start(self, request):
        """The array that a request's images go to, and what will say how each of them went."""
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        pixels = np.empty((len(images), 3, self.transform.height, self.transform.width), np.uint8)
        return pixels, list(map(self.threads.submit, [self._attempt] * len(images), images, pixels))

    def _attempt(self, encoded, pixels):
        """Why the image is bad, or None."""
        try:
            self.transform.pixels(encoded, pixels)
        except BadImageError as error:
            return error
        except MemoryError:
            return BadImageError("not enough memory to decode it")
        return None


def _respond(pixels, errors):
    bad = [f"image {i}: {error}" for i, error in enumerate(errors) if error]
    if bad:
        error = pb_utils.TritonError("\n".join(bad), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)])
