"""Which addresses on the network a picture may be fetched from: those of the public internet.

A name that a caller chooses must not lead to what only this machine can reach: its own services,
the private network, a cloud's metadata.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

IpAddress: TypeAlias = IPv4Address | IPv6Address
IsAllowed: TypeAlias = Callable[[IpAddress], bool]

# Global unicast (RFC 4291, 2.4). What lies outside, like 64:ff9b::/96, may hold any IPv4 address.
_UNICAST = IPv6Network("2000::/3")


class AddressRefused(OSError):  # noqa: N818 (named for what happened, as the client's are)
    """A name leads to an address that is not public."""


def is_public(address: IpAddress) -> bool:
    """Whether `address` is one of the public internet."""
    if isinstance(address, IPv6Address):
        tunnelled = address.sixtofour or address.teredo
        return address in _UNICAST and address.is_global and not tunnelled
    return address.is_global and not (address.is_multicast or address.is_reserved)


class PublicResolver(AbstractResolver):
    """Looks names up, and refuses those of which any address is not allowed.

    The connection is made to the addresses that were checked, so that a name that changes between
    the check and the connection gains nothing.
    """

    def __init__(self, is_allowed: IsAllowed) -> None:
        self._is_allowed = is_allowed
        self._names = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            AddressRefused: one of them is not allowed.
        """
        found = await self._names.resolve(host, port, family)
        for result in found:
            check(result["host"], self._is_allowed)
        return found

    async def close(self) -> None:
        """Nothing is open."""


def check(address: str, is_allowed: IsAllowed) -> None:
    """Let an address pass, or not.

    Raises:
        AddressRefused: it is not allowed, or none.
    """
    try:
        allowed = is_allowed(ip_address(address.partition("%")[0]))
    except ValueError:
        allowed = False
    if not allowed:
        raise AddressRefused("its host is not on the public internet")
