"""What `tritonserver` prints: the severity of a line, and from many lines why a model did not load.

A log line is `E1122 00:01:24.338253 6398 model_lifecycle.cc:642] "message"`, the message quoted and
escaped as JSON. Between such lines stand tables, the output of the libraries inside, and what
Python models print.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

_PREFIX = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] *(.*)")


class Level(IntEnum):
    """Severity, in rising order."""

    VERBOSE = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


_LETTERS = {"I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.ERROR}

# Printed as warnings and errors on every machine without an NVIDIA GPU, where they mean nothing.
_NO_GPU = (
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "CUDA driver version is insufficient",
    "CudaDriverHelper has not been initialized",
    "Failed to initialize NVML",
    "DCGM unable to start",
)


@dataclass(frozen=True)
class LogLine:
    """One line of the server's output.

    Attributes:
        text: the line as printed.
        level: its severity.
        message: the text without time and place, unescaped; may have several lines.
    """

    text: str
    level: Level
    message: str


def parse_line(text: str) -> LogLine:
    """Read one line of output."""
    if match := _PREFIX.match(text):
        level, message = _LETTERS[match[1]], _unquoted(match[2])
    elif text.startswith(("+-", "| ")) or not text.strip():
        level, message = Level.INFO, text  # a table
    elif text.startswith(("error:", "[libprotobuf ERROR", "tritonserver:")):
        level, message = Level.ERROR, text
    elif text.startswith("Signal ("):
        level, message = Level.INFO, text
    else:  # a library or a Python model wrote to stdout or stderr
        level, message = Level.WARNING, text
    if any(noise in text for noise in _NO_GPU):
        level = Level.INFO
    return LogLine(text, level, message)


def _unquoted(message: str) -> str:
    try:
        value = json.loads(message)
    except ValueError:
        return message
    return value if isinstance(value, str) else message


_LOAD_FAILURES = (
    re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.+)", re.DOTALL),
    re.compile(
        r"failed to load (?:model )?'(?P<model>[^']+)'(?: version \d+)?: (?P<reason>.+)", re.DOTALL
    ),
    re.compile(r"\bensemble '?(?P<model>[\w.-]+)'?,? (?P<reason>.+)", re.DOTALL),
)
_BAD_CONFIG = re.compile(r"Error parsing text-format inference\.ModelConfig: (\d+):(\d+): (.+)")
# The ensemble's message repeats the whole reason of the model it needs, which has its own entry.
_NEEDS_FAILED_MODEL = re.compile(r"(depends on '[^']+') which has no loaded version.*", re.DOTALL)


def load_failures(lines: Iterable[LogLine]) -> dict[str, str]:
    """Model name -> the server's reason for not loading it, in the order of the log."""
    failures: dict[str, str] = {}
    position = ""
    for line in lines:
        if line.level < Level.ERROR:
            continue
        if match := _BAD_CONFIG.search(line.message):
            position = f" (line {match[1]}, column {match[2]}: {match[3]})"
            continue
        for pattern in _LOAD_FAILURES:
            if match := pattern.search(line.message):
                reason = _NEEDS_FAILED_MODEL.sub(r"\1, which did not load", match["reason"])
                failures.setdefault(match["model"], reason.strip() + position)
                break
        position = ""  # protobuf's complaint comes right before the model that it is about
    return failures


_LOADING = re.compile(r"loading: (?P<model>[^:]+):\d+$")
_LOADED = re.compile(r"(?:successfully loaded|failed to load) '(?P<model>[^']+)'")


def still_loading(lines: Iterable[LogLine]) -> list[str]:
    """The models whose loading began and has not ended."""
    loading: dict[str, None] = {}
    for line in lines:
        if match := _LOADING.match(line.message):
            loading[match["model"]] = None
        elif match := _LOADED.match(line.message):
            loading.pop(match["model"], None)
    return list(loading)


def errors(lines: Iterable[LogLine], limit: int = 5) -> list[str]:
    """The last error messages, or the last lines of any kind where there is no error."""
    said = [line for line in lines if line.text.strip() and not line.text.startswith(("+-", "| "))]
    worst = [line.message for line in said if line.level >= Level.ERROR]
    return (worst or [line.message for line in said])[-limit:]
