"""Triton Python backend: TEXT -> TOKEN_IDS and TOKENS, one tokenizer call for a dynamic batch.

A request with long texts is answered when they are done, and the rest of its batch before that.
"""

import json
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from lane import Lane
from tokens import BadTextError, TextTransform, are_long, length


class TritonPythonModel:
    """One instance: a tokenizer and its cleaning rules."""

    def initialize(self, args):
        """Read the parameters."""
        self.parameters = json.loads(args["model_config"])["parameters"]
        self.folder = Path(args["model_repository"]) / args["model_version"]
        self.lane = Lane(1)

    @cached_property
    def transform(self):
        """The tokenizer, when the first text comes: where encoders take texts, few come here."""
        return TextTransform.from_parameters(self.parameters, self.folder / "tokenizer.json")

    def execute(self, requests):
        """Answer each request with what it asks for, or with an error.

        TOKEN_IDS [batch, length] and TOKENS [batch, 1], both int32.
        """
        decoded = [self._decode(request) for request in requests]
        short = [texts for texts in decoded if isinstance(texts, list) and not are_long(texts)]
        encodings = iter(self.transform.tokenize([text for texts in short for text in texts]))
        return [
            self._respond(request, texts, encodings)
            for request, texts in zip(requests, decoded, strict=True)
        ]

    def finalize(self):
        """Stop the threads."""
        self.lane.close()

    def _respond(self, request, texts, encodings):
        """The response, with the next of `encodings`; None if it comes later."""
        if isinstance(texts, pb_utils.TritonError):
            return pb_utils.InferenceResponse(error=texts)
        if not are_long(texts):
            return self._answer(request, [next(encodings) for _ in texts])
        return self.lane.take(
            request,
            sum(map(len, texts)),
            [partial(self.transform.tokenize, texts)],
            lambda results: self._answer(request, results[0]),
        )

    def _answer(self, request, encodings):
        wanted = request.requested_output_names()
        tensors = []
        if "TOKEN_IDS" in wanted:
            ids = self.transform.pad([self.transform.ids(encoding) for encoding in encodings])
            tensors.append(pb_utils.Tensor("TOKEN_IDS", ids))
        if "TOKENS" in wanted:
            counts = np.array([[length(encoding)] for encoding in encodings], np.int32)
            tensors.append(pb_utils.Tensor("TOKENS", counts))
        return pb_utils.InferenceResponse(tensors)

    def _decode(self, request):
        """The strings of one request, or the error that names those that are none."""
        values = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
        try:
            return self.transform.texts(values)
        except BadTextError as error:
            return pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
