"""Items embedded by a model, in order, the bad ones told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tritonclip.errors import InvalidInput
from tritonclip.types import FloatArray
from tritonclip_gateway.errors import Problem, problem_of
from tritonclip_gateway.gateway import Gateway, together
from tritonclip_gateway.inputs.fetching import FetchRefused
from tritonclip_gateway.inputs.items import Item, Link, Picture, Text
from tritonclip_gateway.triton.model import Model

Long: TypeAlias = Literal["refuse", "cut", "mean"]
"""What becomes of a text beyond the context; the latter two as for the client."""


@dataclass(frozen=True)
class Embedded:
    """What became of some items."""

    vectors: FloatArray
    """Unit vectors, float32 [items, dim]; NaN where there is a problem."""
    tokens: int
    """Of all texts that were embedded, as far as the model saw them."""
    pictures: int
    problems: tuple[Problem, ...] = ()


async def embed(
    items: Sequence[Item | Problem], model: Model, gateway: Gateway, *, long: Long, first: int = 0
) -> Embedded:
    """Have items embedded.

    Args:
        items: what can be embedded, and why the rest can't.
        model: which embeds them.
        gateway: fetches those that are links, and counts.
        long: what becomes of texts beyond the context.
        first: the index of the first item, for problems.

    Raises:
        TritonClipError: of the model's servers.
    """
    embedding = _Embedding(items, model, gateway, long, first)
    kinds = []
    if embedding.texts:
        kinds.append(embedding.embed_texts())
    if embedding.pictures or embedding.links:
        kinds.append(embedding.embed_pictures())
    if len(kinds) == 1:
        await kinds[0]
    else:
        await together(*kinds)
    return embedding.result()


class _Embedding:
    """Items on their way; those of one kind travel together."""

    def __init__(
        self,
        items: Sequence[Item | Problem],
        model: Model,
        gateway: Gateway,
        long: Long,
        first: int,
    ) -> None:
        self._model = model
        self._gateway = gateway
        self._long = long
        self._first = first
        self._tokens = 0
        self._vectors = np.full((len(items), model.info.dim), np.nan, np.float32)
        self._problems = [item for item in items if isinstance(item, Problem)]
        self.texts = {i: item.text for i, item in enumerate(items) if isinstance(item, Text)}
        self.pictures = {
            i: item.encoded for i, item in enumerate(items) if isinstance(item, Picture)
        }
        self.links = {i: item.url for i, item in enumerate(items) if isinstance(item, Link)}

    def result(self) -> Embedded:
        problems = sorted(self._problems, key=lambda problem: problem.index)
        return Embedded(self._vectors, self._tokens, len(self.pictures), tuple(problems))

    async def embed_texts(self) -> None:
        places, texts = list(self.texts), list(self.texts.values())
        failed: list[InvalidInput] = []
        long: Literal["mean", "cut"] = "mean" if self._long == "mean" else "cut"
        with self._gateway.metrics.asking(self._model.info.name, "text", len(texts)):
            vectors, counts = await together(
                self._model.ask(
                    lambda client: client.embed_texts(texts, long=long, on_error=failed.append)
                ),
                self._model.ask(lambda client: client.count_tokens(texts)),
            )
        self._vectors[places] = vectors
        self._note(failed, places)
        context = self._model.info.context_length
        for place, count in zip(places, counts, strict=True):
            if count > context and self._long == "refuse":
                self._refuse(
                    place,
                    "context_length_exceeded",
                    f"has {count} tokens, and the model's context is {context}; send less, or "
                    'have it cut off ("truncate": true) or embedded in parts ("long": "mean")',
                )
            self._tokens += count if self._long == "mean" else min(count, context)

    async def embed_pictures(self) -> None:
        if self.links:
            await together(*(self._fetch(place, url) for place, url in self.links.items()))
        if not self.pictures:
            return
        places, pictures = list(self.pictures), list(self.pictures.values())
        failed: list[InvalidInput] = []
        with self._gateway.metrics.asking(self._model.info.name, "image", len(pictures)):
            self._vectors[places] = await self._model.ask(
                lambda client: client.embed_images(pictures, on_error=failed.append)
            )
        self._note(failed, places)

    async def _fetch(self, place: int, url: str) -> None:
        try:
            fetched = await self._gateway.fetcher.fetch(url, self._model.info.max_image_bytes)
        except FetchRefused as error:
            self._refuse(place, "url_refused", str(error))
        else:
            self.pictures[place] = fetched

    def _note(self, failed: Sequence[InvalidInput], places: Sequence[int]) -> None:
        for error in failed:
            place = places[error.index or 0]
            self._problems.append(problem_of(error, self._first + place))

    def _refuse(self, place: int, code: str, message: str) -> None:
        self._problems.append(Problem(self._first + place, code, message))
