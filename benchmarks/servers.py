"""Servers of a bundle that a benchmark starts, with its encoders or with some that cost nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.runtimes import Runtime
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

STUB = Path(__file__).with_name("stub_encoder.py")


@contextmanager
def served(
    bundle: Bundle,
    execution: Execution | None = None,
    runtime: Runtime = "python",
    *,
    stub: bool = False,
) -> Iterator[Server]:
    """A server of `bundle` on free ports; ends with the block.

    Args:
        bundle: what is served.
        execution: of its encoders; None for what `assemble` does by default.
        runtime: of its encoders.
        stub: whether they answer with constants instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        assemble([bundle], repository, runtime=runtime, execution=execution or Execution())
        if stub:
            for encoder in repository.glob("*_encoder"):
                shutil.copy(STUB, encoder / "1" / "model.py")
        with Server(repository, ports=Ports(0, 0, 0)) as server:
            yield server
