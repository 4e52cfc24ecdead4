"""Everything this package raises on purpose, as one tree under `TritonClipError`.

Each message says what was wrong, with what value, and what to do about it. The exception of the
library underneath (gRPC, HTTP, Pillow, the operating system) is chained as `__cause__`.
"""
# Named for what happened, as in httpx (`RequestTimeout`, not `RequestTimeoutError`).
# ruff: noqa: N818


class TritonClipError(Exception):
    """Base of every error that TritonCLIP raises on purpose."""


class InvalidArgument(TritonClipError, ValueError):
    """An option or argument makes no sense: an unknown URL scheme, zero concurrency, no labels."""


class ClientClosed(TritonClipError):
    """The client was closed before or during the call."""


class ServerUnavailable(TritonClipError):
    """The server cannot be reached, or says that it cannot take the request right now."""


class WrongProtocol(TritonClipError):
    """Something answers at the address, but not in the protocol of the URL."""


class RequestTimeout(TritonClipError, TimeoutError):
    """No answer arrived before the deadline."""


class ServerError(TritonClipError):
    """The server failed while it handled a valid request."""


class ModelNotFound(TritonClipError):
    """The server has no such model, or several and none was named."""


class ModelMismatch(TritonClipError):
    """A model is there, but not one that tritonclip assembled, or not in a form known here."""


class InvalidInput(TritonClipError, ValueError):
    """One item of the caller's input cannot be embedded.

    Attributes:
        reason: what is wrong with it, without its position.
        index: its position in the caller's input; None where the server named no item.
        source: where it came from (an image's path, the beginning of a text), if that is known.
    """

    noun = "input"

    def __init__(self, reason: str, index: int | None = None, source: str | None = None) -> None:
        super().__init__(reason, index, source)
        self.reason = reason
        self.index = index
        self.source = source

    def __str__(self) -> str:
        """Name the item, then the reason."""
        if self.index is None:
            return self.reason
        source = "" if self.source is None else f" ({self.source})"
        return f"{self.noun} {self.index}{source}: {self.reason}"


class ImageError(InvalidInput):
    """An image cannot be embedded: missing, unreadable, too large, or not an image."""

    noun = "image"


class TextError(InvalidInput):
    """A text cannot be embedded: not a string, or refused by the model's tokenizer."""

    noun = "text"
