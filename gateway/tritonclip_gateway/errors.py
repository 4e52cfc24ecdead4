"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.

The codes are stable; messages may change. What a server or a store says about its own failure goes
into the log, not to the caller: it names addresses and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclip.errors import (
    ClientClosed,
    ImageError,
    InvalidArgument,
    InvalidInput,
    ModelNotFound,
    RequestTimeout,
    ServerUnavailable,
    TextError,
    TritonClipError,
)
from tritonclip_search.errors import (
    CollectionNotFound,
    InvalidFilter,
    SourceError,
    SpaceMismatch,
    StoreError,
)


@dataclass(frozen=True)
class Problem:
    """An item of a request that cannot be embedded."""

    index: int
    code: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """As in an answer."""
        return {"index": self.index, "code": self.code, "message": self.message}


class ApiError(Exception):
    """An answer that is not 200."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        items: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.items = items
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """OpenAI's word for the kind."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return kinds.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.items:
            error["items"] = [item.to_json() for item in self.items]
        return {"error": error}


def bad_items(problems: Sequence[Problem], field: str = "input") -> ApiError:
    """The error of a request some of whose items are bad; all of them are named."""
    first = min(problems, key=lambda problem: problem.index)
    others = len(problems) - 1
    more = f" ({others} more of the items cannot be embedded, see `items`)" if others else ""
    return ApiError(
        400,
        first.code,
        f"item {first.index}: {first.message}{more}",
        param=f"{field}[{first.index}]",
        items=sorted(problems, key=lambda problem: problem.index),
    )


def problem_of(error: InvalidInput, index: int) -> Problem:
    """What a client says about the item at `index` of a request."""
    code = "invalid_text" if isinstance(error, TextError) else "invalid_image"
    return Problem(index, code, error.reason)


_AGAIN = {"Retry-After": "1"}


def api_error(error: TritonClipError) -> ApiError:
    """The answer for an error of the client or of the archive."""
    match error:
        case InvalidFilter():
            return ApiError(400, "invalid_filter", str(error), param="where")
        case ImageError() | TextError():
            return bad_items([problem_of(error, error.index or 0)])
        case InvalidArgument() | InvalidInput():
            return ApiError(400, "invalid_request", str(error))
        case RequestTimeout():
            return ApiError(504, "timeout", "the model did not answer in time")
        case ModelNotFound():
            return ApiError(503, "model_unavailable", "the model is not loaded", headers=_AGAIN)
        case ServerUnavailable() | ClientClosed():
            return ApiError(
                503, "model_unavailable", "no server of the model answers", headers=_AGAIN
            )
        case CollectionNotFound():
            return ApiError(
                503,
                "collection_unavailable",
                "the archive has no such collection yet; `tritonclip index` makes one",
            )
        case SpaceMismatch():
            return ApiError(
                503,
                "collection_mismatch",
                "the collection holds vectors of a model that is not served here",
            )
        case SourceError():
            return ApiError(404, "file_unavailable", "the file cannot be read any more")
        case StoreError():
            return ApiError(503, "store_unavailable", "the archive's store does not answer")
    return ApiError(502, "model_failed", "the model failed at this request")
