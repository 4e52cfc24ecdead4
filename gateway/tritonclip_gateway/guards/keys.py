"""API keys, of which only hashes are kept.

A file has a line for each: `NAME sha256:HEX`, and perhaps a rate of its own, as in `100/minute`.
Keys are made here, with 256 bits of chance, so a plain hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from limits import RateLimitItem

from tritonclip.errors import InvalidArgument
from tritonclip_gateway.guards.rates import parse_rate

_LINE = re.compile(r"(?P<name>[\w.@-]+)\s+sha256:(?P<hash>[0-9a-f]{64})(?:\s+(?P<rate>\S.*))?")
_PREFIX = "tc-"


@dataclass(frozen=True)
class Key:
    """One caller's."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    rate: RateLimitItem | None = None
    """Requests it may make, if not as many as the others."""


class Keys:
    """Those that let a caller in."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        """Whether there are any, and callers need one."""
        return bool(self._keys)

    def __iter__(self) -> Iterator[Key]:
        """All of them."""
        return iter(self._keys)

    def find(self, presented: str) -> Key | None:
        """The key that was presented; takes as long for any."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def read_keys(file: Path | None, plain: Iterable[str]) -> Keys:
    """The keys of a file, and those given as they are, e.g. by the environment.

    Raises:
        InvalidArgument: there is no such file, or a line is none of ours, or a rate none.
    """
    keys = [
        Key(f"environment-{number}", hashlib.sha256(key.encode()).digest())
        for number, key in enumerate(plain, 1)
    ]
    if file is None:
        return Keys(keys)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidArgument(f"keys: cannot read {file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InvalidArgument(
                f"{file}, line {number}: expected NAME sha256:HEX, as --new-key writes it"
            )
        rate = None if match["rate"] is None else parse_rate(match["rate"])
        keys.append(Key(match["name"], bytes.fromhex(match["hash"]), rate))
    return Keys(keys)


def add_key(file: Path, name: str) -> str:
    """A new key, whose hash is added to `file`; it is known to nobody else.

    Raises:
        InvalidArgument: the name has other than letters, digits and `._@-`, or is taken.
    """
    if not re.fullmatch(r"[\w.@-]+", name):
        raise InvalidArgument(f"{name!r} is no name for a key; use letters, digits and ._@-")
    if file.exists() and any(key.name == name for key in read_keys(file, ())):
        raise InvalidArgument(f"{file} has a key {name!r} already; remove its line first")
    key = _PREFIX + secrets.token_urlsafe(32)
    with file.open("a", encoding="utf-8") as opened:
        if opened.tell() == 0:
            file.chmod(0o600)
        opened.write(f"{name} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
    return key
