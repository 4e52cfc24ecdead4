"""Triton Python backend: IMAGE, LABELS and TEMPLATES -> PROBABILITIES.

Images and prompts go through the bundle's own ensembles. Label embeddings are kept by content, so
that only the first request with a label set pays for its texts.
"""

import asyncio
import json
import re
from collections import OrderedDict

import numpy as np
import triton_python_backend_utils as pb_utils
from zero_shot import DEFAULT_TEMPLATES, label_embeddings, probabilities, prompts

KEPT_LABEL_SETS = 64


class RequestError(Exception):
    """Carries the TritonError that answers one request."""


class TritonPythonModel:
    """One instance: the two ensembles' names, the similarity, and the kept label embeddings."""

    def initialize(self, args):
        """Read the parameters."""
        parameters = json.loads(args["model_config"])["parameters"]
        value = {key: parameter["string_value"] for key, parameter in parameters.items()}
        self.image_model, self.text_model = value["image_model"], value["text_model"]
        self.max_batch = int(value["max_batch"])
        self.similarity = value["similarity"]
        self.scale, self.bias = float(value["logit_scale"]), float(value["logit_bias"])
        self.kept = OrderedDict()

    async def execute(self, requests):
        """Answer each request with PROBABILITIES [images, labels], float32, or with an error."""
        return await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request):
        try:
            labels = _strings(request, "LABELS")
            templates = _strings(request, "TEMPLATES") or DEFAULT_TEMPLATES
            label_vectors = await self._label_vectors(labels, templates)
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
            if not 0 < len(images) <= self.max_batch:
                raise RequestError(
                    _invalid(f"IMAGE holds {len(images)} images; send 1 to {self.max_batch}")
                )
            image_vectors = await self._embed(self.image_model, "IMAGE", images)
        except RequestError as error:
            return pb_utils.InferenceResponse(error=error.args[0])
        result = probabilities(image_vectors, label_vectors, self.similarity, self.scale, self.bias)
        return pb_utils.InferenceResponse([pb_utils.Tensor("PROBABILITIES", result)])

    async def _label_vectors(self, labels, templates):
        key = (tuple(labels), tuple(templates))
        if key not in self.kept:
            try:
                texts = np.array([text.encode() for text in prompts(labels, templates)], np.object_)
            except ValueError as error:
                raise RequestError(_invalid(str(error))) from error
            vectors = await self._embed(self.text_model, "TEXT", texts)
            self.kept[key] = label_embeddings(vectors, len(labels))
        self.kept.move_to_end(key)
        while len(self.kept) > KEPT_LABEL_SETS:
            self.kept.popitem(last=False)
        return self.kept[key]

    async def _embed(self, model, tensor, values):
        """EMBEDDING of each value, through `model`, at most a full batch at a time."""
        starts = range(0, len(values), self.max_batch)
        responses = await asyncio.gather(
            *(
                pb_utils.InferenceRequest(
                    model_name=model,
                    requested_output_names=["EMBEDDING"],
                    inputs=[
                        pb_utils.Tensor(tensor, values[start : start + self.max_batch, np.newaxis])
                    ],
                ).async_exec()
                for start in starts
            )
        )
        if failed := [response.error() for response in responses if response.has_error()]:
            raise RequestError(_with_code(failed[0].message()))
        return np.concatenate(
            [
                pb_utils.get_output_tensor_by_name(response, "EMBEDDING").as_numpy()
                for response in responses
            ]
        )


def _strings(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return []
    try:
        values = [value.decode("utf-8") for value in tensor.as_numpy().reshape(-1)]
    except UnicodeDecodeError as error:
        raise RequestError(_invalid(f"{name} holds a string that is not UTF-8: {error}")) from error
    if not values:
        raise RequestError(_invalid(f"{name} is empty; send at least one"))
    return values


def _with_code(message):
    """The error of an inner request, whose code business-logic scripting replaces by INTERNAL."""
    if re.search(r"\b(image|text) \d+: ", message):
        return _invalid(message)
    return pb_utils.TritonError(message)


def _invalid(message):
    return pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
