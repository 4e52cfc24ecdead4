"""Triton Python backend: TEXT -> TOKEN_IDS, one tokenizer call for the whole dynamic batch."""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils
from tokens import TextTransform


class TritonPythonModel:
    """One instance: a tokenizer and its cleaning rules."""

    def initialize(self, args):
        """Read the cleaning rules from the parameters and the tokenizer from this folder."""
        self.transform = TextTransform.from_parameters(
            json.loads(args["model_config"])["parameters"],
            Path(args["model_repository"]) / args["model_version"] / "tokenizer.json",
        )

    def execute(self, requests):
        """Answer each request with TOKEN_IDS [batch, length], int32, or with an error."""
        decoded = [
            _decode(pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1))
            for request in requests
        ]
        good = [text for texts in decoded if isinstance(texts, list) for text in texts]
        ids = iter(self.transform.encode(good))
        return [
            pb_utils.InferenceResponse(error=texts)
            if isinstance(texts, pb_utils.TritonError)
            else pb_utils.InferenceResponse(
                [pb_utils.Tensor("TOKEN_IDS", self.transform.pad([next(ids) for _ in texts]))]
            )
            for texts in decoded
        ]


def _decode(values):
    """The strings of one request, or the error that names those that are not UTF-8."""
    texts, bad = [], []
    for i, value in enumerate(values):
        try:
            texts.append(value.decode("utf-8"))
        except UnicodeDecodeError as error:
            bad.append(f"text {i}: not UTF-8: {error}")
    if bad:
        return pb_utils.TritonError("\n".join(bad), pb_utils.TritonError.INVALID_ARG)
    return texts
