"""What the tests of archives share."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def nobody() -> Callable[[Callable[[], None]], None]:
    """Calls a function in a process whose user owns nothing.

    Tests in containers are run by root, to whom no file is closed.
    """

    def call(function: Callable[[], None]) -> None:
        child = os.fork()
        if not child:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                function()
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return call


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that `nobody` can get to, as to `tmp_path` only its owner can."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*/")):
            path.chmod(0o755)
