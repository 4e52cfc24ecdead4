"""One finding of the doctor."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "missing"]


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn` for what works with limits; `missing`.
        found: what is there.
        remedy: what to do; empty where nothing needs doing.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
