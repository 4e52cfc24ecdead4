"""What TensorRT says while it builds: collected, and read for errors and figures.

Without a GPU an engine cannot be loaded to ask it for its layers and its memory, but the builder
tells both in its log.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_MEMORY = re.compile(r"Total Activation Memory: (\d+) bytes")
_LAYER = re.compile(r"\bLayerType: ")
# As Polygraphy prints it, or trtexec, with the time before it.
_ERROR = re.compile(r"^\s*(?:\[[\d/:-]+\] ?)?\[[E!]\] (?:\[.*?\] )?(.*)")
# The builder reports a missing driver at every turn, and then does without where it can.
_NO_DRIVER = re.compile(r"cudaError 35|cudaErrorInsufficientDriver")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|insufficient (?:device )?memory|could not be allocated",
    re.IGNORECASE,
)
_NODE = re.compile(r"In node \d+ with name: (\S*) and operator: (\S+) \(.*?\): (.*)")


@dataclass
class BuildLog:
    """The messages of one build, one a line."""

    lines: list[str] = field(default_factory=list)

    @property
    def layers(self) -> int | None:
        """Layers after fusion, over all profiles; None if the log does not list them."""
        return sum(len(_LAYER.findall(line)) for line in self.lines) or None

    @property
    def device_memory_bytes(self) -> int | None:
        """Activation memory of the profile that needs most."""
        found = [int(size) for line in self.lines for size in _MEMORY.findall(line)]
        return max(found, default=None)


def explain(lines: Sequence[str]) -> str:
    """What went wrong, from the lines of a failed build: one sentence or two, with the remedy."""
    errors = [
        found[1].strip()
        for line in lines
        if (found := _ERROR.match(line)) and not _NO_DRIVER.search(line)
    ]
    for error in errors:
        if found := _NODE.search(error):
            name, operator, reason = found.groups()
            return f"the parser refuses the node {name!r} ({operator}): {reason}"
    for error in errors:
        if _OUT_OF_MEMORY.search(error):
            return (
                f"the GPU ran out of memory ({error}): end other processes on it, or build with a "
                "smaller --max-batch or --workspace"
            )
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it gave no reason")
    return errors[0] if errors else last


@contextmanager
def collected() -> Iterator[BuildLog]:
    """Collect what Polygraphy and TensorRT log inside the block, and print none of it.

    Nor does Python warn: Polygraphy calls what this or that release has deprecated.
    """
    from polygraphy.logger import G_LOGGER

    log = BuildLog()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.lines.extend(record.getMessage().splitlines())

    handler = Collector()
    logger = logging.getLogger("Polygraphy")
    before = (G_LOGGER.use_python_logging_system, logger.level, logger.propagate)
    G_LOGGER.colors = False  # which it would announce that it lacks
    G_LOGGER.use_python_logging_system = True
    logger.setLevel(1)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        # Listing layers is among the least severe messages.
        with G_LOGGER.verbosity(G_LOGGER.EXTRA_VERBOSE), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield log
    finally:
        logger.removeHandler(handler)
        G_LOGGER.use_python_logging_system, logger.level, logger.propagate = before
