"""Triton Python backend: TEXT -> EMBEDDING of every window of the text's tokens.

It calls the bundle's own text encoder (business-logic scripting), several windows at a time.
"""

import asyncio
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokens import TextTransform, clean
from windows import windows

# A text beyond this is a book, and would keep the encoder from everybody else.
MAX_WINDOWS = 256


class TritonPythonModel:
    """One instance: a tokenizer, its cleaning rules, and the encoder it calls."""

    def initialize(self, args):
        """Read the parameters."""
        self.parameters = json.loads(args["model_config"])["parameters"]
        self.folder = Path(args["model_repository"]) / args["model_version"]
        self.encoder = self.parameters["encoder"]["string_value"]
        self.max_batch = int(self.parameters["max_batch"]["string_value"])

    @cached_property
    def transform(self):
        """The tokenizer and its rules, when the first text comes.

        A vocabulary takes 35 MB, most servers never see a text beyond the context, and the same
        file is already in use in `text_tokenize`.
        """
        return TextTransform.from_parameters(self.parameters, self.folder / "tokenizer.json")

    @cached_property
    def split(self):
        """A text -> TOKEN_IDS of its windows."""
        tokenizer = self.transform.tokenizer
        max_length = tokenizer.truncation["max_length"]
        tokenizer.no_truncation()
        return lambda text: windows(clean(text, self.transform.cleaning), tokenizer, max_length)

    async def execute(self, requests):
        """Answer each request with EMBEDDING [texts, windows, dim], float32, or with an error."""
        return await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
        split, bad = [], []
        for i, text in enumerate(texts):
            try:
                split.append(self._windows(text))
            except ValueError as error:
                bad.append(f"text {i}: {error}")
        if bad:
            code = pb_utils.TritonError.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("\n".join(bad), code))
        rows = [row for rows in split for row in rows]
        vectors, error = await self._embed(rows)
        if error is not None:
            return pb_utils.InferenceResponse(error=error)
        counts = [len(rows) for rows in split]
        embedding = np.zeros((len(texts), max(counts), vectors.shape[-1]), np.float32)
        embedding[np.arange(max(counts)) < np.array(counts)[:, np.newaxis]] = vectors
        return pb_utils.InferenceResponse([pb_utils.Tensor("EMBEDDING", embedding)])

    def _windows(self, encoded):
        rows = self.split(self.transform.decode(encoded))
        if len(rows) > MAX_WINDOWS:
            raise ValueError(
                f"it has {len(rows)} windows, over the limit of {MAX_WINDOWS}; send its parts"
            )
        replaced = self.transform.replaced_ids
        return [[replaced.get(id, id) for id in row] for row in rows]

    async def _embed(self, rows):
        """EMBEDDING [rows, dim] of token ids, and the error if there was one."""
        # Rows of about one length travel together, so that a short text stays cheap.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        batches = [order[i : i + self.max_batch] for i in range(0, len(order), self.max_batch)]
        responses = await asyncio.gather(
            *(
                pb_utils.InferenceRequest(
                    model_name=self.encoder,
                    requested_output_names=["EMBEDDING"],
                    inputs=[
                        pb_utils.Tensor("TOKEN_IDS", self.transform.pad([rows[i] for i in batch]))
                    ],
                ).async_exec()
                for batch in batches
            )
        )
        if failed := [response.error() for response in responses if response.has_error()]:
            return None, pb_utils.TritonError(failed[0].message())
        vectors = np.concatenate(
            [pb_utils.get_output_tensor_by_name(r, "EMBEDDING").as_numpy() for r in responses]
        )
        return vectors[np.argsort(order)], None
