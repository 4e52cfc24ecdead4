"""Triton Python backend: IMAGE, LABELS and TEMPLATES -> PROBABILITIES.

Images and prompts go through the bundle's own ensembles. Triton gives an instance its next request
when `execute` returns, even if that is a coroutine, so `execute` only begins to answer: the images
of all requests in flight share the encoder's dynamic batches, as those of plain embedding do.
"""

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils
from classification import DEFAULT_TEMPLATES, label_embeddings, probabilities, prompts
from label_sets import LabelSets
from strings import deserialize

# Triton's stub looks its function up by this name after it has imported the model.
pb_utils.deserialize_bytes_tensor = deserialize

# About 120 sets of 1,000 labels at 512 dimensions.
KEPT_BYTES = 256 * 2**20
# What each holds lies in shared memory. Twice the largest dynamic batch keeps encoders busy.
REQUESTS_IN_FLIGHT = 128
# Few, so that images need not wait for all the prompts of a new label set.
TEXT_BATCHES_IN_FLIGHT = 4


class RequestError(Exception):
    """Carries the TritonError that answers one request."""


class TritonPythonModel:
    """One instance: the two ensembles' names, the similarity, and the kept label embeddings."""

    def initialize(self, args):
        """Read the parameters, and start the thread that answers."""
        parameters = json.loads(args["model_config"])["parameters"]
        value = {key: parameter["string_value"] for key, parameter in parameters.items()}
        self.image_model, self.text_model = value["image_model"], value["text_model"]
        self.max_batch = int(value["max_batch"])
        self.similarity = value["similarity"]
        self.scale, self.bias = float(value["logit_scale"]), float(value["logit_bias"])
        self.label_sets = LabelSets(KEPT_BYTES)
        self.places = threading.BoundedSemaphore(REQUESTS_IN_FLIGHT)
        self.text_places = asyncio.Semaphore(TEXT_BATCHES_IN_FLIGHT)
        self.loop = asyncio.new_event_loop()
        # `async_exec` waits for its answer in a thread of the loop's executor.
        self.loop.set_default_executor(
            ThreadPoolExecutor(REQUESTS_IN_FLIGHT + TEXT_BATCHES_IN_FLIGHT)
        )
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def execute(self, requests):
        """Begin to answer each with PROBABILITIES [images, labels], float32, or with an error."""
        for request in requests:
            self.places.acquire()
            asyncio.run_coroutine_threadsafe(self._respond(request), self.loop)

    def finalize(self):
        """End the thread; Triton has waited for the requests in flight."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def _respond(self, request):
        try:
            response = pb_utils.InferenceResponse(
                [pb_utils.Tensor("PROBABILITIES", await self._probabilities(request))]
            )
        except RequestError as error:
            response = pb_utils.InferenceResponse(error=error.args[0])
        except Exception as error:  # nobody else would answer the request
            message = f"{type(error).__name__}: {error}"
            response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        finally:
            self.places.release()
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        request.get_response_sender().send(response, flags=final)

    async def _probabilities(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        if not 0 < len(images) <= self.max_batch:
            raise RequestError(
                _invalid(f"IMAGE holds {len(images)} images; send 1 to {self.max_batch}")
            )
        key = (_values(request, "LABELS"), _values(request, "TEMPLATES"))
        label_vectors = await self.label_sets.get(key, lambda: self._embed_labels(*key))
        image_vectors = await self._embed(self.image_model, "IMAGE", images)
        return probabilities(image_vectors, label_vectors, self.similarity, self.scale, self.bias)

    async def _embed_labels(self, labels, templates):
        try:
            texts = prompts(
                _decoded(labels, "LABELS"), _decoded(templates, "TEMPLATES") or DEFAULT_TEMPLATES
            )
        except ValueError as error:
            raise RequestError(_invalid(str(error))) from error
        encoded = np.array([text.encode() for text in texts], np.object_)
        starts = range(0, len(encoded), self.max_batch)
        vectors = await asyncio.gather(
            *(self._embed_texts(encoded[start : start + self.max_batch]) for start in starts)
        )
        return label_embeddings(np.concatenate(vectors), len(labels))

    async def _embed_texts(self, texts):
        async with self.text_places:
            return await self._embed(self.text_model, "TEXT", texts)

    async def _embed(self, model, tensor, values):
        """EMBEDDING of each value, through `model`; no more of them than its largest batch."""
        request = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=["EMBEDDING"],
            inputs=[pb_utils.Tensor(tensor, values[:, np.newaxis])],
        )
        response = await request.async_exec()
        if response.has_error():
            raise RequestError(_with_code(response.error().message()))
        # A copy, because the response's memory goes with the response.
        return pb_utils.get_output_tensor_by_name(response, "EMBEDDING").as_numpy().copy()


def _values(request, name):
    """The strings of an input, as they came; none if it did not."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return ()
    values = tuple(tensor.as_numpy().reshape(-1).tolist())
    if not values:
        raise RequestError(_invalid(f"{name} is empty; send at least one"))
    return values


def _decoded(values, name):
    try:
        return [value.decode("utf-8") for value in values]
    except UnicodeDecodeError as error:
        raise RequestError(_invalid(f"{name} holds a string that is not UTF-8: {error}")) from error


def _with_code(message):
    """The error of an inner request, whose code business-logic scripting replaces by INTERNAL."""
    if re.search(r"\b(image|text) \d+: ", message):
        return _invalid(message)
    return pb_utils.TritonError(message)


def _invalid(message):
    return pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
