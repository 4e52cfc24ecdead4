"""A seal in each `config.pbtxt`, by which it shows whether somebody has edited it since.

It is the SHA-256 of what follows, in a comment behind the others, which is nothing to a server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tritonclip_export.served.model_config import comments, render_config

_SEAL = "# Edits are found by this SHA-256 of what follows, and belong in an overlay: "


def sealed(config: Any, comments: Sequence[str]) -> str:
    """The text of a `config.pbtxt` that shows it when it is edited, `comments` first."""
    body = render_config(config, [])
    return "\n".join([*comments, _SEAL + _sha256(body), body])


def in_place_of(file: Path, config: Any) -> str:
    """The text of `config` for a file that there is: with its comments, and as edited as it was."""
    kept = comments(file)
    if history(file) != "as written":
        return render_config(config, kept)
    return sealed(config, [line for line in kept if not line.startswith(_SEAL)])


def history(file: Path) -> Literal["as written", "edited", "unknown"]:
    """Whether a `config.pbtxt` was edited; unknown where no hash says so, as in older ones."""
    _, seal, rest = file.read_text(encoding="utf-8").partition(_SEAL)
    if not seal:
        return "unknown"
    sha256, _, body = rest.partition("\n")
    return "as written" if sha256 == _sha256(body) else "edited"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
