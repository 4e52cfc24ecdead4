"""Where a server is, parsed from the string that a caller writes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tritonclip.errors import InvalidArgument

_SCHEMES: dict[str, tuple[Literal["grpc", "http"], bool]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
_DEFAULT_PORTS = {"grpc": 8001, "grpcs": 443, "http": 8000, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """One server's address, with the protocol spoken there."""

    protocol: Literal["grpc", "http"]
    tls: bool
    host: str
    port: int
    path: str = ""
    """A prefix before `/v2`, for a server behind a reverse proxy; HTTP only."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, by a name or number that is always this machine's."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def authority(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        """The address as a URL."""
        return f"{self.protocol}{'s' if self.tls else ''}://{self.authority}{self.path}"


def parse_endpoint(url: str) -> Endpoint:
    """Read `host:port` (gRPC) or a `grpc://`, `grpcs://`, `http://` or `https://` URL.

    A missing port is Triton's default for the protocol (8001, 8000), or 443 with TLS.

    Raises:
        InvalidArgument: another scheme, no host, or a part that has no meaning here.
    """
    text = url if re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE) else f"grpc://{url}"
    scheme = text.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise InvalidArgument(
            f"cannot connect to {url!r}: unknown scheme {scheme!r}; use {', '.join(_SCHEMES)}"
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgument(f"cannot connect to {url!r}: {error}") from error
    path = parts.path.rstrip("/")
    protocol, tls = _SCHEMES[scheme]
    if not host:
        raise InvalidArgument(f"cannot connect to {url!r}: no host; write e.g. '127.0.0.1:8001'")
    if port == 0:
        raise InvalidArgument(f"cannot connect to {url!r}: no server listens on port 0")
    if parts.query or parts.fragment or parts.username or (path and protocol == "grpc"):
        raise InvalidArgument(f"cannot connect to {url!r}: write just {scheme}://host:port")
    return Endpoint(protocol, tls, host, port or _DEFAULT_PORTS[scheme], path)
