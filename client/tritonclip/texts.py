"""Texts on their way to the server."""

from __future__ import annotations

from tritonclip.errors import TextError


def is_single_text(texts: object) -> bool:
    """Whether `texts` is one text (bytes included, to be refused as such) rather than many."""
    return isinstance(texts, str | bytes | bytearray)


def text_name(text: object) -> str | None:
    """The beginning of a text, to recognise it by."""
    if not isinstance(text, str):
        return None
    return repr(text if len(text) <= 40 else text[:39] + "…")


def encode_text(text: object, index: int, max_bytes: int) -> bytes:
    """The UTF-8 of one text.

    Raises:
        TextError: not a string, one that UTF-8 cannot hold, or too long for the server.
    """
    if not isinstance(text, str):
        hint = "; decode it first" if isinstance(text, bytes | bytearray) else ""
        raise TextError(f"is a {type(text).__name__}, not a str{hint}", index)
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        reason = f"cannot be written as UTF-8: {error.reason} at character {error.start}"
        raise TextError(reason, index, text_name(text)) from error
    if len(encoded) > max_bytes:
        reason = f"{len(encoded)} bytes is over the server's limit of {max_bytes}"
        raise TextError(reason, index, text_name(text))
    return encoded
