"""Requests to an encoder that tokenizes itself: TEXT, or TOKEN_IDS that somebody else made of it.

One Python model for both spares a caption what a model costs in Triton: a request through the
scheduler, a copy into shared memory and another process, 0.2 to 0.4 ms of CPU time (two vCPUs of an
Intel Xeon, Triton 24.10).
"""

from functools import partial

import triton_python_backend_utils as pb_utils
from lane import Lane
from tokens import BadTextError, TextTransform, are_long


class Captions:
    """From requests to the token ids of each."""

    def __init__(self, parameters, folder, token_ids):
        """Read the tokenizer.

        Args:
            parameters: of the model, those of `text_tokenize` among them.
            folder: where `tokenizer.json` lies.
            token_ids: what requests without TEXT bring.
        """
        self.transform = TextTransform.from_parameters(parameters, folder / "tokenizer.json")
        self.token_ids = token_ids
        self.lane = Lane(1)

    def __call__(self, requests):
        """For each request TOKEN_IDS [rows, length], or the error that is its answer.

        Or, where its texts are long, what answers it when they are done: a function that takes the
        request, TOKEN_IDS -> embeddings and embeddings -> response, and gives what `execute` is to
        return.
        """
        # With optional inputs, Triton batches only requests that bring the same.
        if pb_utils.get_input_tensor_by_name(requests[0], "TEXT") is None:
            return self.token_ids(requests)
        decoded = [self._decode(request) for request in requests]
        short = [texts for texts in decoded if isinstance(texts, list) and not are_long(texts)]
        ids = iter(self.transform.encode([text for texts in short for text in texts]))
        return [self._rows(texts, ids) for texts in decoded]

    def _rows(self, texts, ids):
        if isinstance(texts, pb_utils.TritonError):
            return texts
        if are_long(texts):
            return partial(self._later, texts)
        return self.transform.pad([next(ids) for _ in texts])

    def _later(self, texts, request, embed, respond):
        def embedded():
            return embed([self.transform.pad(self.transform.encode(texts))])

        size = sum(map(len, texts))
        return self.lane.take(request, size, [embedded], lambda done: respond(done[0]))

    def _decode(self, request):
        values = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
        try:
            return self.transform.texts(values)
        except BadTextError as error:
            return pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
