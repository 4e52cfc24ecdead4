"""Triton Python backend: IMAGE (encoded files) -> PIXELS.

Every image of every request in the dynamic batch decodes in one thread pool; Pillow releases the
GIL while it decodes and resizes. A request with bad images fails alone, naming each of them.
"""

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image
from pixels import BadImageError, ImageTransform


class TritonPythonModel:
    """One instance: a transform and the threads that apply it."""

    def initialize(self, args):
        """Read the transform from the model's parameters and start the threads."""
        self.transform = ImageTransform.from_parameters(
            json.loads(args["model_config"])["parameters"]
        )
        # The transform's own pixel limit replaces Pillow's, which cannot be set per model.
        Image.MAX_IMAGE_PIXELS = None
        warnings.simplefilter("ignore")  # strangers' EXIF would fill the server's log
        self.threads = ThreadPoolExecutor(
            max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="decode"
        )

    def execute(self, requests):
        """Answer each request with PIXELS [batch, 3, height, width], uint8, or with an error."""
        pending = [
            [
                self.threads.submit(self._attempt, encoded)
                for encoded in pb_utils.get_input_tensor_by_name(request, "IMAGE")
                .as_numpy()
                .reshape(-1)
            ]
            for request in requests
        ]
        return [_respond([future.result() for future in images]) for images in pending]

    def finalize(self):
        """Stop the threads."""
        self.threads.shutdown(cancel_futures=True)

    def _attempt(self, encoded):
        try:
            return self.transform.pixels(encoded)
        except BadImageError as error:
            return error
        except MemoryError:
            return BadImageError("not enough memory to decode it")


def _respond(results):
    bad = [
        f"image {i}: {result}"
        for i, result in enumerate(results)
        if isinstance(result, BadImageError)
    ]
    if bad:
        error = pb_utils.TritonError("\n".join(bad), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", np.stack(results))])
