"""What somebody has changed in configs by hand, which assembling must not undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tritonclip_export.errors import EditedConfigError
from tritonclip_export.repository import seal
from tritonclip_export.repository.overlays import OVERLAY_PARAMETER
from tritonclip_export.served.model_config import read_config


def check(staging: Path, target: Path, *, with_overlays: bool) -> None:
    """Refuse to undo what somebody has changed in the configs that staged models would replace.

    Args:
        staging: the models.
        target: the repository.
        with_overlays: whether those that are to be applied were named.

    Raises:
        EditedConfigError: names every such config and what would be undone.
    """
    undone = []
    for new in sorted(staging.glob("*/config.pbtxt")):
        old = target / new.relative_to(staging)
        if old.is_file() and (change := _undone(old, new, with_overlays)):
            undone.append(f"{old} {change}")
    if undone:
        lines = "\n".join(undone)
        raise EditedConfigError(
            f"assembling would undo what somebody has changed:\n{lines}\n"
            "To keep a change, write its fields as MODEL.pbtxt into a folder and name that with "
            "--overlays; to drop it, say --overwrite"
        )


def _undone(old: Path, new: Path, with_overlays: bool) -> str | None:
    """What a config would lose, as words to follow its name."""
    there, wanted = read_config(old), read_config(new)
    past = seal.history(old)
    if past == "as written":
        if with_overlays or OVERLAY_PARAMETER not in there.parameters:
            return None
        return f"was assembled with the overlay {there.name}.pbtxt, and --overlays is not given"
    for config in (there, wanted):
        config.parameters.pop(OVERLAY_PARAMETER, None)  # not what it changes, but that it does
    if there == wanted:
        return None
    known = "was edited" if past == "edited" else "is of an older version and may have been edited"
    return f"{known}, and would change in {', '.join(_differing(there, wanted))}"


def _differing(a: Any, b: Any) -> list[str]:
    """The fields in which two configs differ."""
    fields, others = ({field.name: value for field, value in c.ListFields()} for c in (a, b))
    names = sorted(fields.keys() | others.keys())
    return [name for name in names if fields.get(name) != others.get(name)]
