"""What was decided, kept so that it can be shown later, and shown to be what was decided.

A log is a file of JSON lines. Each holds the SHA-256 of itself and of the line before, so that a
line that was changed, removed or put in breaks the chain. Only its end can be cut off unseen, which
is why a check says the last hash: whoever keeps that elsewhere can tell. A line is on the disk
before its picture's decision is given out; one that a crash has torn is cut off by the next writer.
Full files are set aside as `NAME.000001`, `NAME.000002` and so on, and the chain goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tritonclip import Client
from tritonclip.info import ModelInfo
from tritonclip_search.errors import AuditError
from tritonclip_search.policy.decisions import decide
from tritonclip_search.policy.moderation import Moderated
from tritonclip_search.policy.pictures import from_files
from tritonclip_search.policy.prepared import PreparedPolicy

FIRST = "0" * 64
"""What stands before the first line of all."""
FULL = 64 * 2**20
"""Bytes from which on a file is set aside."""
TOLERANCE = 2e-3
"""Of a score that is computed again; between runs and precisions it differs by less."""


class AuditLog:
    """Appends to a log, also where others append to it at the same time."""

    def __init__(self, file: Path, full: int = FULL) -> None:
        """Write to `file`, which is made with its first line."""
        self._file = file
        self._full = full

    def append(self, policy: PreparedPolicy, moderated: Sequence[Moderated]) -> None:
        """Write decisions, and return when they are on the disk.

        Raises:
            AuditError: the log cannot be written, or its last line is none of ours.
        """
        try:
            with self._locked():
                previous = self._mend()
                lines = []
                for one in moderated:
                    body = {**_body(policy, one), "previous": previous}
                    previous = _hash(body)
                    lines.append(json.dumps({"hash": previous, **body}, ensure_ascii=False) + "\n")
                with self._file.open("ab") as opened:
                    opened.write("".join(lines).encode())
                    opened.flush()
                    os.fsync(opened.fileno())
                    size = opened.tell()
                if size >= self._full:
                    self._set_aside()
        except OSError as error:
            raise AuditError(
                f"the audit log {self._file} cannot be written ({error.strerror}); nothing that "
                "was decided since counts as recorded"
            ) from error

    def _mend(self) -> str:
        """The hash to go on from, a torn last line cut off."""
        if self._file.exists() and self._file.stat().st_size:
            with self._file.open("r+b") as opened:
                content = _tail(opened)
                if torn := len(content) - (content.rfind(b"\n") + 1):
                    opened.seek(-torn, os.SEEK_END)
                    opened.truncate()
                    content = content[:-torn]
            if content.strip():
                return _hash_of_last(self._file, content)
        aside = set_aside(self._file)
        if not aside:
            return FIRST
        with aside[-1].open("rb") as opened:
            return _hash_of_last(aside[-1], _tail(opened))

    def _set_aside(self) -> None:
        aside = set_aside(self._file)
        number = int(aside[-1].suffix[1:]) + 1 if aside else 1
        self._file.rename(self._file.with_name(f"{self._file.name}.{number:06}"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        lock = self._file.with_name(f".{self._file.name}.lock")
        with lock.open("w") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield


@dataclass
class Verified:
    """What a check of a log found."""

    lines: int = 0
    last: str = FIRST
    """Hash of the last line, to be kept elsewhere."""
    problems: list[str] = field(default_factory=list)
    recomputed: int = 0
    """Lines whose decision was computed again, and came out the same."""
    skipped: list[str] = field(default_factory=list)
    """Lines that could not be computed again, and why."""


def set_aside(file: Path) -> list[Path]:
    """The full files of a log, the oldest first."""
    return sorted(
        path for path in file.parent.glob(f"{file.name}.*") if path.suffix[1:].isdecimal()
    )


def entries(file: Path) -> Iterator[tuple[str, bytes]]:
    """Each line of a log with its place, the oldest first.

    Raises:
        AuditError: there is no such log.
    """
    files = [*set_aside(file), *([file] if file.exists() else [])]
    if not files:
        raise AuditError(f"there is no audit log {file}; `tritonclip moderate --audit` writes one")
    for path in files:
        with path.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                yield f"{path}:{number}", line


def verify(file: Path, known: str | None = None) -> Verified:
    """Follow the chain of a log.

    Args:
        file: the log; what was set aside is read first.
        known: a hash that was noted earlier, which has to be in it.
    """
    found = Verified()
    seen = known is None or known == FIRST
    for place, line in entries(file):
        found.lines += 1
        try:
            body: dict[str, Any] = json.loads(line)
            said = body.pop("hash")
            previous = body["previous"]
        except (ValueError, KeyError, AttributeError, TypeError):
            torn = "" if line.endswith(b"\n") else "; a writer was cut off here"
            found.problems.append(f"{place}: not a line of an audit log{torn}")
            continue
        if previous != found.last:
            found.problems.append(f"{place}: the line before it is missing, or was changed")
        if _hash(body) != said:
            found.problems.append(f"{place}: it was changed after it was written")
        found.last = said
        seen = seen or said == known
    if not seen:
        found.problems.append(
            f"{file}: the hash {known} is not in it; its end was cut off, or it is another log"
        )
    return found


def recompute(
    found: Verified, file: Path, policy: PreparedPolicy, client: Client, count: int
) -> None:
    """Decide again on `count` of a log's pictures, drawn by chance, and add to `found`."""
    candidates = []
    for place, line in entries(file):
        try:
            body = json.loads(line)
            if body["policy"] == policy.policy.sha256 and "start" not in body:
                candidates.append((place, body))
        except (ValueError, KeyError, TypeError):
            continue
    random = np.random.default_rng()
    for choice in sorted(random.permutation(len(candidates))[:count].tolist()):
        place, body = candidates[choice]
        if body["model"]["weights_sha256"] != client.info().weights_sha256:
            found.skipped.append(f"{place}: it was decided with another model")
            continue
        _recompute(found, place, body, policy, client)


def _recompute(
    found: Verified, place: str, body: dict[str, Any], policy: PreparedPolicy, client: Client
) -> None:
    problems: list[object] = []
    try:
        pictures = list(from_files([body["path"]], client, problems.append))
    except ValueError:
        pictures = []
    except Exception as error:  # whatever its home raises, the picture is not there now
        found.skipped.append(f"{place}: {error}")
        return
    if not pictures:
        found.skipped.append(f"{place}: {body['path']} cannot be read now")
        return
    (picture,) = pictures
    if picture.sha256 != body["sha256"]:
        found.skipped.append(f"{place}: {body['path']} is another picture now")
        return
    (decision,) = decide(policy, picture.vector)
    scores = [one.score for one in decision.evidence]
    logged = [rule["score"] for rule in body["rules"]]
    if decision.action.value != body["decision"] or not np.allclose(
        scores, logged, atol=TOLERANCE, rtol=TOLERANCE
    ):
        found.problems.append(
            f"{place}: it says {body['decision']} for {body['path']}, and deciding again gives "
            f"{decision.action.value}"
        )
    else:
        found.recomputed += 1


def _body(policy: PreparedPolicy, one: Moderated) -> dict[str, Any]:
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "policy": policy.policy.sha256,
        "model": _model(policy.info),
        **one.to_plain(),
    }


def _model(info: ModelInfo) -> dict[str, object]:
    return {
        "source": info.source,
        "weights_sha256": info.weights_sha256,
        "preprocess": info.preprocess,
        "orient": info.orient,
        "precision": info.precision,
    }


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _tail(opened: Any, least: int = 2**16) -> bytes:
    """The end of a file: at least its last whole line, and what comes after that."""
    size = opened.seek(0, os.SEEK_END)
    length = min(size, least)
    while True:
        opened.seek(-length, os.SEEK_END)
        content: bytes = opened.read(length)
        if length == size or content.rstrip(b"\n").count(b"\n") >= 2:
            return content
        length = min(size, 4 * length)


def _hash_of_last(file: Path, content: bytes) -> str:
    try:
        return str(json.loads(content.rstrip(b"\n").rpartition(b"\n")[2])["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(
            f"the last line of {file} is not of an audit log; move the file away, and look at it "
            "with `tritonclip policy audit`"
        ) from error
