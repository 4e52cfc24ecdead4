"""Pictures at URLs: refused, unless the operator has named their hosts.

Even then nothing is fetched from an address that is not public, at any step of a redirect; see
`addresses`. Size and time are limited, and nothing of ours travels: no proxy's password, no cookie.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import ip_address

import aiohttp
from yarl import URL

from tritonclip_gateway.inputs.addresses import (
    AddressRefused,
    IsAllowed,
    PublicResolver,
    check,
    is_public,
)

_REDIRECTS = 3
_SECONDS = 10.0
_MOVED = (301, 302, 303, 307, 308)


class FetchRefused(Exception):  # noqa: N818
    """A picture is not fetched, or could not be. The message is for the caller."""


class Fetcher:
    """Fetches from some hosts."""

    def __init__(self, hosts: Collection[str], *, is_allowed: IsAllowed = is_public) -> None:
        """Allow `hosts`, each `HOST` (of the scheme's own port) or `HOST:PORT`.

        Args:
            hosts: in any case; `*.example.org` stands for all below it.
            is_allowed: which addresses their names may lead to.
        """
        self._hosts = {host.lower() for host in hosts}
        self._is_allowed = is_allowed
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, limit: int) -> bytes:
        """The file at `url`, of at most `limit` bytes.

        Raises:
            FetchRefused: says why.
        """
        try:
            return await asyncio.wait_for(self._follow(URL(url), limit), _SECONDS)
        except asyncio.TimeoutError as error:
            raise FetchRefused(f"did not arrive within {_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp hands on what its resolver raises as the cause of an error of its own.
            refusals = [e for e in (error, error.__cause__) if isinstance(e, AddressRefused)]
            raise FetchRefused(next(map(str, refusals), "could not be fetched")) from error

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    async def _follow(self, url: URL, limit: int) -> bytes:
        for _ in range(_REDIRECTS + 1):
            self._check(url)
            async with self._opened().get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _MOVED and location:
                    url = url.join(URL(location))
                elif response.status == 200:
                    return await _read(response, limit)
                else:
                    raise FetchRefused(f"its server answered with HTTP {response.status}")
        raise FetchRefused(f"was redirected more than {_REDIRECTS} times")

    def _check(self, url: URL) -> None:
        host = (url.host or "").lower()
        if url.scheme not in ("http", "https") or not host or url.user or url.password:
            raise FetchRefused("is no plain http or https URL")
        above = host.split(".")[1:]
        names = {host, *("*." + ".".join(above[depth:]) for depth in range(len(above)))}
        if not url.is_default_port():
            names = {f"{name}:{url.port}" for name in names}
        if not names & self._hosts:
            raise FetchRefused(
                "is a URL of a host that is not allowed here; send the picture itself, or have the "
                "operator add the host to --allow-urls"
            )
        try:
            ip_address(host)
        except ValueError:
            return  # a name, which the resolver checks
        check(host, self._is_allowed)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=PublicResolver(self._is_allowed), use_dns_cache=False
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "image/*", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > limit:
            raise FetchRefused(f"has more than the {limit:,} bytes that the model takes")
        parts.append(part)
    return b"".join(parts)
