"""Triton Python backend: IMAGE (encoded files) -> PIXELS.

Every image of every request in the dynamic batch decodes in one thread pool; Pillow releases the
GIL while it decodes and resizes. A request with bad images fails alone, naming each of them. One
with large images is answered when they are done, and the rest of its batch before that. In the mode
`dali` the JPEG files of the batch go through one DALI pipeline instead.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import cores
import numpy as np
import triton_python_backend_utils as pb_utils
from lane import Lane
from memory import Memory
from PIL import Image
from pixels import BadImageError, ImageTransform, set_up_pillow

# What takes 50 ms and more. A frame of a video in 1080p has half as many pixels; a small picture
# can have many bytes, say as a progressive JPEG of a hundred scans.
LARGE_PIXELS = 1 << 22
LARGE_BYTES = 1 << 22


class TritonPythonModel:
    """One instance: a transform and the threads that apply it."""

    def initialize(self, args):
        """Read the transform from the model's parameters and start the threads."""
        config = json.loads(args["model_config"])
        self.transform = ImageTransform.from_parameters(config["parameters"])
        threads = cores.usable()
        set_up_pillow(threads)
        self.threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")
        self.lane = Lane(threads, after=Memory().after_batch)
        self.jpegs = None
        if self.transform.mode == "dali":
            gpu = int(args["model_instance_device_id"])
            self.jpegs = _jpeg_pipeline(
                self.transform,
                config["max_batch_size"],
                threads,
                gpu if args["model_instance_kind"] == "GPU" else None,
            )

    def execute(self, requests):
        """Answer each request with PIXELS [batch, 3, height, width], uint8, or with an error."""
        batches = [self._images_and_pixels(request) for request in requests]
        jobs = [job for images, pixels in batches for job in zip(images, pixels, strict=True)]
        outcomes = iter(self._run(jobs))
        return [
            self._answer(request, *batch, list(islice(outcomes, len(batch[0]))))
            for request, batch in zip(requests, batches, strict=True)
        ]

    def finalize(self):
        """Stop the threads."""
        self.threads.shutdown(cancel_futures=True)
        self.lane.close()

    def _answer(self, request, images, pixels, outcomes):
        """The response; None if it comes later, because some images are only opened so far."""
        large = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Image.Image)]
        if not large:
            return _respond(pixels, outcomes)

        def respond(errors):
            for i, error in zip(large, errors, strict=True):
                outcomes[i] = error
            return _respond(pixels, outcomes)

        decode = [partial(self._decode, outcomes[i], pixels[i]) for i in large]
        return self.lane.take(request, sum(map(len, images)), decode, respond)

    def _images_and_pixels(self, request):
        """A request's files and the array that they go to."""
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        pixels = np.empty((len(images), 3, self.transform.height, self.transform.width), np.uint8)
        return images, pixels

    def _run(self, jobs):
        """Do each job, a file and where its pixels go.

        Returns:
            for each None, or why it is bad; the opened image where it is large, which is not done.
        """
        placed = {}
        if self.jpegs:
            found = self.threads.map(self.jpegs.placement, [encoded for encoded, _ in jobs])
            placed = {i: placement for i, placement in enumerate(found) if placement}
        futures = {i: self._submit(jobs[i]) for i in range(len(jobs)) if i not in placed}
        if placed:
            pixels = self.jpegs.pixels([jobs[i][0] for i in placed], list(placed.values()))
            if pixels is None:
                futures |= {i: self._submit(jobs[i]) for i in placed}
            else:
                for i, one in zip(placed, pixels, strict=True):
                    jobs[i][1][...] = one
        return [futures[i].result() if i in futures else None for i in range(len(jobs))]

    def _submit(self, job):
        return self.threads.submit(self._attempt, *job)

    def _attempt(self, encoded, pixels):
        """The image, opened, if it is large; else why it is bad, or None."""
        try:
            image = self.transform.open(encoded)
        except BadImageError as error:
            return error
        if self.transform.work(image) > LARGE_PIXELS or len(encoded) > LARGE_BYTES:
            return image
        return self._decode(image, pixels)

    def _decode(self, image, pixels):
        """Why the opened image is bad, or None."""
        try:
            self.transform.decode(image, pixels)
        except BadImageError as error:
            return error
        except MemoryError:
            return BadImageError("not enough memory to decode it")
        return None


def _jpeg_pipeline(*arguments):
    try:
        from jpeg_pipeline import JpegPipeline
    except ImportError as error:
        raise pb_utils.TritonModelException(
            f"a repository assembled with --preprocess dali needs DALI on the server ({error}): "
            "pip install nvidia-dali-cuda130, or assemble it with --preprocess draft"
        ) from error
    return JpegPipeline(*arguments)


def _respond(pixels, errors):
    bad = [f"image {i}: {error}" for i, error in enumerate(errors) if error]
    if bad:
        error = pb_utils.TritonError("\n".join(bad), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)])
