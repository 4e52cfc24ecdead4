"""A policy and heads, ready to decide on what a model embeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tritonclip.types import FloatArray
from tritonclip_gateway.errors import ApiError
from tritonclip_gateway.triton.model import Model
from tritonclip_search.errors import InvalidHead
from tritonclip_search.heads import file as head_file
from tritonclip_search.heads.card import check_space
from tritonclip_search.heads.head import Head
from tritonclip_search.policy import PreparedPolicy, load, prepared, texts


class Moderation:
    """What is decided by: read once, at the start.

    Attributes:
        heads: by the names under which they are asked.
    """

    def __init__(self, policy: Path | None, heads: Mapping[str, Path]) -> None:
        """Read the files.

        Raises:
            InvalidPolicy, InvalidHead: one of them cannot be followed.
        """
        self._policy = None if policy is None else load(policy)
        self.heads = {name: head_file.load(file) for name, file in heads.items()}
        self._prepared: dict[str, PreparedPolicy] = {}

    async def policy(self, model: Model) -> PreparedPolicy:
        """The policy with its prompts embedded by `model`, which happens once.

        Raises:
            ApiError: there is none.
            InvalidPolicy: it was calibrated for another model.
        """
        if self._policy is None:
            raise ApiError(
                404, "no_policy", "this gateway has no policy; start it with --policy FILE"
            )
        key = model.info.weights_sha256
        if key not in self._prepared:
            said = texts(self._policy)
            vectors: FloatArray = await model.ask(lambda client: client.embed_texts(said))
            self._prepared[key] = prepared(self._policy, model.info, vectors)
        return self._prepared[key]

    def head(self, name: str, model: Model) -> Head:
        """A head for the vectors of `model`.

        Raises:
            ApiError: there is none of that name, or it is for another model.
        """
        if name not in self.heads:
            there = ", ".join(sorted(self.heads)) or "none; start the gateway with --head NAME=FILE"
            raise ApiError(404, "head_not_found", f"there is no head {name!r}; there are: {there}")
        try:
            check_space(self.heads[name], model.info)
        except InvalidHead as error:
            raise ApiError(400, "head_mismatch", str(error), param="model") from error
        return self.heads[name]
