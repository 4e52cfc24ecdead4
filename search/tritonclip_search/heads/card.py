"""What a head says about itself, and whether it is for the vectors at hand."""

from __future__ import annotations

from tritonclip.info import ModelInfo
from tritonclip_search.errors import InvalidHead
from tritonclip_search.heads.head import Head


def check_space(head: Head, info: ModelInfo) -> None:
    """That a head takes the vectors of a model.

    Raises:
        InvalidHead: they are of another length, or of other weights than those it was trained on.
    """
    if head.dim != info.dim:
        raise InvalidHead(
            f"the head {head.name!r} takes vectors of {head.dim} numbers, and {info.source} gives "
            f"{info.dim}; it is for another model"
        )
    weights = head.card.get("weights_sha256")
    if weights is not None and weights != info.weights_sha256:
        raise InvalidHead(
            f"the head {head.name!r} was trained on vectors of {head.card.get('source')} "
            f"({str(weights)[:12]}), and the server embeds with {info.source} "
            f"({info.weights_sha256[:12]}); train it again on those"
        )
