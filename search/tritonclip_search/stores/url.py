"""Addresses of stores, whose secrets are never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tritonclip.errors import InvalidArgument

LOCAL = "local"
"""The scheme of what is written as a plain path."""
SCHEMES = (LOCAL, "lancedb", "postgresql", "milvus", "qdrant", "weaviate")

_SECRET = re.compile(r"key|token|password|passwd|secret", re.IGNORECASE)
_HIDDEN = "***"


@dataclass(frozen=True)
class StoreUrl:
    """Where a store is; its `str` and `repr` show `***` for what is secret.

    Written `SCHEME://[USER:PASSWORD@]HOST[:PORT]/PATH[?OPTION=VALUE]`, or as a plain path of a
    folder. Three slashes in a row, with no host, lead to a file or a socket of this machine.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    """Without the slash before it where there is a host."""
    user: str = ""
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What follows the question mark, decoded."""

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Read an address.

        Raises:
            InvalidArgument: another scheme, or not a URL; does not repeat what may be secret.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            if not text:
                raise InvalidArgument("the store's address is empty; name a folder or a URL")
            return cls(LOCAL, "", None, text)
        if scheme not in SCHEMES:
            raise InvalidArgument(
                f"no store is reached by {scheme}://; name a folder, or one of "
                + ", ".join(f"{known}://" for known in SCHEMES)
            )
        if scheme in (LOCAL, "lancedb"):
            return cls(scheme, "", None, rest)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            # Not with its text, such as "Port could not be cast to integer value as 'secret'".
            raise InvalidArgument(
                f"the address after {scheme}:// cannot be read; "
                "write special characters of a password as %XX"
            ) from error
        return cls(
            scheme,
            parts.hostname or "",
            port,
            unquote(parts.path if not parts.hostname else parts.path.strip("/")),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            tuple(parse_qsl(parts.query, keep_blank_values=True)),
        )

    def split(self) -> tuple[StoreUrl, str | None]:
        """The store's own address, and the collection that follows it, if one does.

        `SCHEME://HOST/COLLECTION`, but `postgresql://HOST/DATABASE/COLLECTION`. A path without a
        host is the store's own.
        """
        if self.scheme == "postgresql":
            database, _, collection = self.path.strip("/").partition("/")
            return replace(self, path=database), collection or None
        if not self.host or not self.path:
            return self, None
        return replace(self, path=""), self.path

    def option(self, name: str) -> str | None:
        """The value of `?name=value`; None where it is not there."""
        return dict(self.options).get(name)

    def allow_options(self, *names: str) -> None:
        """Make sure that nothing but these follows the question mark.

        Raises:
            InvalidArgument: another option does.
        """
        for name, _ in self.options:
            if name not in names:
                raise InvalidArgument(
                    f"{self}: {self.scheme}:// has no option {name!r}; it has {', '.join(names)}"
                )

    def redact(self, text: str) -> str:
        """`text`, such as a client library's error, without this address's secrets."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    def __str__(self) -> str:
        if self.scheme == LOCAL:
            return self.path
        login = self.user + (f":{_HIDDEN}" if self.password else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{login}@{host}" if login else host
        place += "" if self.port is None else f":{self.port}"
        shown = [(k, _HIDDEN if _SECRET.search(k) else value) for k, value in self.options]
        query = f"?{urlencode(shown, safe='*/')}" if shown else ""
        path = self.path if self.path.startswith("/") or not self.path else f"/{self.path}"
        return f"{self.scheme}://{place}{path}{query}"

    def __repr__(self) -> str:
        return f"StoreUrl({str(self)!r})"

    def _secrets(self) -> set[str]:
        values = {value for name, value in self.options if _SECRET.search(name)}
        return {secret for secret in {self.password, *values} if secret}
