"""What the tests of bulk runs share: servers, and sources of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tritonclip_bulk.pool import Endpoints
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server


@pytest.fixture(scope="session")
def bulk_repository(
    bundle: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The demo checkpoint alone."""
    target = tmp_path_factory.mktemp("bulk") / "repository"
    assemble([bundle("demo")], target, runtime="python")
    return target


@pytest.fixture(scope="session")
def bulk_server(bulk_repository: Path) -> Iterator[Server]:
    with Server(bulk_repository, ports=Ports(0, 0, 0)) as running:
        yield running


@pytest.fixture
def endpoints(bulk_server: Server) -> Endpoints:
    """That server alone, which is waited for no longer than a test may take."""
    return Endpoints((bulk_server.grpc_url,), patience=20)


@pytest.fixture(scope="session")
def drawings(twemoji: dict[str, bytes]) -> dict[str, bytes]:
    """Sixty pictures by names that sort."""
    return {f"{number:03d}.png": twemoji[name] for number, name in enumerate(sorted(twemoji)[:60])}


@pytest.fixture
def pictures(tmp_path: Path, drawings: dict[str, bytes]) -> Path:
    """A folder with them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, encoded in drawings.items():
        (folder / name).write_bytes(encoded)
    return folder
