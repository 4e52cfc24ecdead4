"""Logs as lines of JSON, on standard error."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import orjson

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A line for each record, with what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Without arguments and tracebacks of libraries, which may hold what was asked."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD}
        if record.exc_info and record.exc_info[0] is not None:
            line["kind"] = record.exc_info[0].__name__
        return orjson.dumps(line, default=str).decode()


def log_as_json(level: str) -> None:
    """Write the records of this process from `level` on as lines of JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
