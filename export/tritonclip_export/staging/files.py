"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file to write, beside `target`, which takes its place when the block ends without an error.

    A link stays a link, with what it leads to replaced. What is no regular file, such as a pipe, is
    written itself.
    """
    target = target.resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    partial = target.with_name(f".{os.getpid()}.partial{target.suffix}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
