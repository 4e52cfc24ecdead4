"""Triton Python backend: TEXT -> TOKEN_IDS and TOKENS, one tokenizer call for a dynamic batch.

A request with long texts is answered when they are done, and the rest of its batch before that.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from lane import Lane
from tokens import BadTextError, TextTransform, length

# What takes some 10 ms to clean and more; captions have a tenth.
LONG_CHARACTERS = 4096


class TritonPythonModel:
    """One instance: a tokenizer and its cleaning rules."""

    def initialize(self, args):
        """Read the cleaning rules from the parameters and the tokenizer from this folder."""
        self.transform = TextTransform.from_parameters(
            json.loads(args["model_config"])["parameters"],
            Path(args["model_repository"]) / args["model_version"] / "tokenizer.json",
        )
        self.lane = Lane(1)

    def execute(self, requests):
        """Answer each request with what it asks for, or with an error.

        TOKEN_IDS [batch, length] and TOKENS [batch, 1], both int32.
        """
        decoded = [
            self._decode(pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1))
            for request in requests
        ]
        short = [texts for texts in decoded if isinstance(texts, list) and not _are_long(texts)]
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
        if not _are_long(texts):
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

    def _decode(self, values):
        """The strings of one request, or the error that names those that are none."""
        texts, bad = [], []
        for i, value in enumerate(values):
            try:
                texts.append(self.transform.decode(value))
            except BadTextError as error:
                bad.append(f"text {i}: {error}")
        if bad:
            return pb_utils.TritonError("\n".join(bad), pb_utils.TritonError.INVALID_ARG)
        return texts


def _are_long(texts):
    return any(len(text) > LONG_CHARACTERS for text in texts)
