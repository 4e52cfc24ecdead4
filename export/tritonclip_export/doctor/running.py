"""A server that runs: whether its models embed."""

from __future__ import annotations

import socket

from tritonclip_export.doctor.check import Check

NAME = "running server"
USUAL = ("127.0.0.1", 8001)
_SECONDS = 10.0


def server(url: str | None) -> Check:
    """Have every model embed a picture and a word, at `url`, or at the usual address if any."""
    if url is None and not _listens():
        return Check(NAME, "ok", f"none asked, as nothing listens on {USUAL[0]}:{USUAL[1]}")
    # Here, because it needs NumPy.
    from tritonclip import Client
    from tritonclip.errors import TritonClipError

    where = url or f"{USUAL[0]}:{USUAL[1]}"
    try:
        with Client(where, timeout=_SECONDS, retries=0) as client:
            names = client.models()
        states = {name: _state(where, name) for name in names}
    except TritonClipError as error:
        remedy = "`tritonclip serve REPOSITORY` starts one; --url HOST:PORT asks another"
        return Check(NAME, "missing" if url else "warn", str(error), remedy)
    if not states:
        remedy = "`tritonclip assemble` makes a repository of models to serve"
        return Check(NAME, "warn", f"{where} answers and has no model of ours", remedy)
    found = f"{where}: " + "; ".join(f"{name} {state}" for name, state in states.items())
    if all(state == _WELL for state in states.values()):
        return Check(NAME, "ok", found)
    remedy = "`tritonclip serve` starts what breaks again; its log says why a model did not load"
    return Check(NAME, "warn", found, remedy)


_WELL = "embeds"


def _state(url: str, name: str) -> str:
    from tritonclip import Client

    with Client(url, model=name, timeout=_SECONDS) as client:
        health = client.health()
    return _WELL if health.ok else f"does not embed ({health.detail})"


def _listens() -> bool:
    try:
        socket.create_connection(USUAL, timeout=1.0).close()
    except OSError:
        return False
    return True
