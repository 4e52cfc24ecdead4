"""Overlays: what somebody wants otherwise in the config of a model, kept in a file of its own.

`MODEL.pbtxt` holds the fields of a `config.pbtxt` that shall be different, in the same format. They
are merged into the composed config as by a JSON Merge Patch (RFC 7396): field by field, where a
list takes the place of the list that is there, and an entry of a map that of the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

from tritonclip_export.errors import RepositoryError
from tritonclip_export.repository import seal
from tritonclip_export.repository.wiring import check_repository
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import PREFIX

OVERLAY_PARAMETER = f"{PREFIX}overlay"
"""Marks a config that an overlay was merged into; its value is the SHA-256 of that file."""


def apply_overlays(folder: Path, staging: Path, target: Path) -> tuple[str, ...]:
    """Merge the overlays in `folder` into the configs in `staging`, which fit together already.

    Those of models in the repository `target` that are not staged have nothing to do.

    Returns:
        The models that were changed.

    Raises:
        RepositoryError: there are no overlays, one is of no model, is no config, changes what
            clients are told about the bundle, or leaves models that do not fit together.
    """
    files = sorted(folder.glob("*.pbtxt"))
    if not files:
        raise RepositoryError(
            f"{folder} holds no overlays: files MODEL.pbtxt with the fields of a config.pbtxt that "
            "shall be different"
        )
    applied = []
    for file in files:
        config = staging / file.stem / "config.pbtxt"
        if config.is_file():
            _merge(file, config)
            applied.append(file.stem)
        elif not (target / file.stem).is_dir():
            models = ", ".join(sorted(path.name for path in staging.iterdir()))
            raise RepositoryError(
                f"{file} is of no model: name it for one of {models}, or remove it"
            )
    try:
        check_repository(staging)
    except RepositoryError as error:
        raise RepositoryError(f"with the overlays in {folder}: {error}") from error
    return tuple(applied)


def _merge(overlay: Path, file: Path) -> None:
    from google.protobuf import text_format

    changes, config = read_config(overlay), read_config(file)
    if facts := sorted(key for key in changes.parameters if key.startswith(PREFIX)):
        raise RepositoryError(
            f"{overlay} sets {', '.join(facts)}, by which clients know what is served: remove it"
        )
    _clear_lists(config, changes)
    text = overlay.read_text(encoding="utf-8")
    # By its text: a message no longer has what was set to a default, like `enable: false`.
    text_format.Merge(text, config)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    config.parameters[OVERLAY_PARAMETER].string_value = sha256
    file.write_text(seal.in_place_of(file, config), encoding="utf-8")


def _clear_lists(config: Any, changes: Any) -> None:
    """Empty the lists of `config` that `changes` has, as merging would only lengthen them."""
    from google.protobuf.message import Message

    for field, value in changes.ListFields():
        if isinstance(value, MutableSequence):
            config.ClearField(field.name)
        elif isinstance(value, Message) and config.HasField(field.name):
            _clear_lists(getattr(config, field.name), value)
