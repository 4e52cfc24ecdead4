"""Whether weights were trained with QuickGELU, as far as that can be known.

OpenAI's weights, and many made with them, need QuickGELU; with GELU they lose accuracy without any
other sign. The file itself does not say. A pretrained tag does; so does the name that a file was
published under, and a configuration that lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tritonclip_export.checkpoint.references import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, Reference
from tritonclip_export.errors import CheckpointError

SUFFIX = "-quickgelu"


def check(reference: Reference) -> None:
    """Fail if the weights of an `ARCH:TAG` or `ARCH:FILE` want the other activation.

    Raises:
        CheckpointError: names the architecture that goes with the weights.
    """
    if reference.kind != "architecture" or reference.weights is None:
        return
    has = _of_architecture(reference.name)
    for wants, source in _evidence(reference.name, reference.weights):
        if wants == has:
            continue
        other = _other(reference.name)
        raise CheckpointError(
            f"{reference.text}: these weights were trained with "
            f"{'QuickGELU' if wants else 'GELU'} ({source}), and {reference.name} has "
            f"{'QuickGELU' if has else 'GELU'}. "
            + (f"Export {other} instead." if other else "No architecture of open_clip fits both.")
        )


def tags(architecture: str) -> list[str]:
    """The pretrained tags of an architecture whose weights want the activation that it has."""
    import open_clip

    has = _of_architecture(architecture)
    known = open_clip.list_pretrained_tags_by_model(architecture)
    return [tag for tag in known if _of_tag(architecture, tag) == has]


def _of_architecture(name: str) -> bool:
    import open_clip

    return bool(open_clip.get_model_config(name).get("quick_gelu", False))


def _other(architecture: str) -> str | None:
    """The same architecture with the other activation, if open_clip has it."""
    import open_clip

    stem = architecture.removesuffix(SUFFIX)
    other = stem if stem != architecture else stem + SUFFIX
    return other if other in open_clip.list_models() else None


def _of_tag(architecture: str, tag: str) -> bool:
    """What the tag says, where there is a choice; roberta-ViT-B-32's tag forgets to say it."""
    from open_clip.pretrained import get_pretrained_cfg

    if _other(architecture) is None:
        return _of_architecture(architecture)
    return bool(get_pretrained_cfg(architecture, tag).get("quick_gelu", False))


def _evidence(architecture: str, weights: str) -> Iterator[tuple[bool, str]]:
    """What is known of the weights: whether they want QuickGELU, and who says so."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    if weights in open_clip.list_pretrained_tags_by_model(architecture):
        yield _of_tag(architecture, weights), f"open_clip's tag {weights}"
        return
    file = Path(weights)
    for published, tag in open_clip.list_pretrained():
        url = get_pretrained_cfg(published, tag).get("url", "")
        if url and url.rsplit("/", 1)[-1] == file.name:
            yield _of_tag(published, tag), f"{file.name} is {published}:{tag}"
            break
    for config in (file.parent / OPEN_CLIP_CONFIG, file.parent / TRANSFORMERS_CONFIG):
        if config.is_file() and (says := _of_config(config)) is not None:
            yield says, f"{config} beside them"


def _of_config(file: Path) -> bool | None:
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if model := config.get("model_cfg"):
        return bool(model.get("quick_gelu", False))
    activation = (config.get("vision_config") or {}).get("hidden_act")
    return None if activation is None else activation == "quick_gelu"
