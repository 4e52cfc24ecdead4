"""How often a caller may ask."""

from __future__ import annotations

from limits import RateLimitItem, parse

from tritonclip.errors import InvalidArgument


def parse_rate(text: str) -> RateLimitItem:
    """A rate as `limits` writes it: `100/minute`, `5 per second`.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r} is no rate; write e.g. 100/minute") from error
