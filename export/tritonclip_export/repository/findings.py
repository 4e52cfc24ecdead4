"""Findings in the configs of a repository: written by `tune`, kept by `assemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from tritonclip_export.bundle import Tower
from tritonclip_export.repository import seal
from tritonclip_export.repository.setting import FEEDERS, Setting, carry_over, mark, write_setting
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import PREFIX
from tritonclip_export.staging.folders import staging_folder


def tower_models(bundle: str, tower: Tower) -> tuple[str, str]:
    """A tower's encoder, and the model before it."""
    return f"{bundle}_{tower}_encoder", f"{bundle}_{FEEDERS[tower]}"


def write(
    repository: Path, models: tuple[str, str], setting: Setting, provenance: dict[str, Any]
) -> tuple[str, ...]:
    """Put a setting into the configs of a tower's models, each in one step; which were changed."""
    files = [repository / model / "config.pbtxt" for model in models]
    before, after = ([read_config(file) for file in files] for _ in range(2))
    write_setting(setting, *after)
    written = []
    for model, old, new in zip(models, before, after, strict=True):
        if new != old:
            mark(new, provenance)
            _replace(repository / model / "config.pbtxt", new)
            written.append(model)
    return tuple(written)


def keep(
    bundle: str, staging: Path, repository: Path, *, drop_edits: bool = False
) -> tuple[str, ...]:
    """Carry what was found for a bundle in `repository` over to its models in `staging`.

    Only where runtime and precision are the same; what is best for others, nobody has measured.

    Args:
        bundle: its name.
        staging: where its models are composed.
        repository: where they are served from.
        drop_edits: leave out the models whose configs somebody has edited, as nothing there tells
            what was found from what was changed by hand.

    Returns:
        The models that keep findings.
    """
    if _executed(repository, bundle) != _executed(staging, bundle):
        return ()
    kept = []
    for tower in get_args(Tower):
        for model in tower_models(bundle, tower):
            old, new = (folder / model / "config.pbtxt" for folder in (repository, staging))
            if not old.is_file() or (drop_edits and seal.history(old) == "edited"):
                continue
            config = read_config(new)
            if carry_over(read_config(old), config):
                new.write_text(seal.in_place_of(new, config), encoding="utf-8")
                kept.append(model)
    return tuple(kept)


def _executed(repository: Path, bundle: str) -> tuple[str, ...] | None:
    """Runtime and precision of a bundle's encoders, as its ensembles describe them."""
    file = repository / f"{bundle}_image" / "config.pbtxt"
    if not file.is_file():
        return None
    parameters = read_config(file).parameters
    return tuple(parameters[PREFIX + key].string_value for key in ("runtime", "precision"))


def _replace(file: Path, config: Any) -> None:
    """Write a config in one step: a server that polls finds the old one or the new one."""
    with staging_folder(file.parents[1]) as staging:
        new = staging / file.name
        new.write_text(seal.in_place_of(file, config), encoding="utf-8")
        new.replace(file)
