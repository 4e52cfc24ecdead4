"""Whether a gateway may listen where it is told to."""

from __future__ import annotations

from ipaddress import ip_address

from tritonclip.errors import InvalidArgument
from tritonclip_gateway.guards.keys import Keys
from tritonclip_gateway.settings import Settings


def check_exposure(settings: Settings, keys: Keys) -> None:
    """Refuse to be open to other machines by oversight.

    Raises:
        InvalidArgument: it would be, or TLS has a key without a certificate or the other way round.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise InvalidArgument("TLS takes both a certificate and its key")
    if keys or settings.insecure or _is_loopback(settings.host):
        return
    raise InvalidArgument(
        f"on {settings.host}, other machines could embed and search without an API key; make one "
        "(--keys FILE --new-key NAME), or say --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
