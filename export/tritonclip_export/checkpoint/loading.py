"""Loading: from a reference to a dual encoder, by the library that the checkpoint belongs to.

Weights are only ever loaded as tensors: a pickle that wants to run code is refused.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.checkpoint import hub
from tritonclip_export.checkpoint.distilled import checkpoint as distilled
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.checkpoint.open_clip import checkpoint as open_clip
from tritonclip_export.checkpoint.open_clip import files
from tritonclip_export.checkpoint.references import (
    CLIP_MODULE,
    CONFIGS,
    OPEN_CLIP_CONFIG,
    Reference,
    find_config,
    parse,
)
from tritonclip_export.checkpoint.transformers import checkpoint as transformers
from tritonclip_export.errors import CheckpointError

__all__ = ["DualEncoder", "Reference", "load", "parse"]


def load(
    reference: Reference,
    *,
    random_seed: int | None = None,
    source: Path | None = None,
    language: str | None = None,
) -> DualEncoder:
    """Load a checkpoint in FP32 on the CPU.

    Args:
        reference: what `parse` returned.
        random_seed: initialise at random instead of loading weights. Only for a bare architecture.
        source: a folder to take files from that live on a hub; None asks the hub.
        language: the code that NLLB's tokenizer puts in front of texts, as in `deu_Latn`.

    Raises:
        CheckpointError: no weights were named, they cannot be had, they do not fit the
            architecture, they would run code, or their activation is not the architecture's.
    """
    with _plain_errors(reference):
        folder = _folder(reference, source)
        for index in folder.glob(f"*{hub.SHARDS_SUFFIX}") if folder else ():
            hub.shards(index)
        if folder is None or (folder / OPEN_CLIP_CONFIG).is_file():
            return open_clip.load(
                reference, folder=folder, random_seed=random_seed, source=source, language=language
            )
        for option, value in (("random weights", random_seed), ("language", language)):
            if value is not None:
                raise CheckpointError(f"a checkpoint of transformers takes no {option}")
        if distilled.is_distilled(folder):
            teacher = load(parse(distilled.image_tower(reference, folder)), source=source)
            return distilled.load(reference, folder, teacher, source)
        return transformers.load(reference, folder)


def _folder(reference: Reference, source: Path | None) -> Path | None:
    """Where the checkpoint lies, whole; None for an architecture of open_clip."""
    if reference.kind == "architecture":
        return None
    if reference.kind == "folder":
        found = find_config(Path(reference.name))
        return found.parent if found else Path(reference.name)
    config = hub.Wanted(
        reference.name,
        "configuration, then what it asks for",
        CONFIGS,
        also=(distilled.MODULES,),
        patterns=("*.json", "*.safetensors", "*.model", "*.txt"),
    )
    path = hub.obtain([config], source, reference=reference.text)[config]
    if path.name == OPEN_CLIP_CONFIG:
        rest = [hub.weights(reference.name, *files.WEIGHTS)]
    elif distilled.is_distilled(path.parent):
        rest = distilled.wanted(reference.name, path.parent)
        teacher = parse(distilled.image_tower(reference, path.parent))
        if teacher.kind == "architecture":
            rest += files.of_architecture(teacher)
    else:
        rest = transformers.wanted(reference.name)
        if path.parent.name == CLIP_MODULE:
            rest = [item.inside(CLIP_MODULE) for item in rest]
    hub.obtain(rest, source, reference=reference.text)
    return path.parent


@contextmanager
def _plain_errors(reference: Reference) -> Iterator[None]:
    """Turn what a library raises into one typed error."""
    root = logging.getLogger()
    level = root.level
    # open_clip announces every step, and random weights, on the root logger.
    root.setLevel(logging.ERROR)
    try:
        yield
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{reference.text}: the weights are a pickle that would run code on loading, so they "
            "are refused. Ask their author for safetensors, or save the state_dict as that."
        ) from error
    except Exception as error:  # open_clip, timm, transformers and torch raise what they like
        raise CheckpointError(_plain(reference, error)) from error
    finally:
        root.setLevel(level)


# What PyTorch and open_clip say where a tensor has another shape or name than the architecture's.
_SLIPS = (AssertionError, AttributeError, IndexError, KeyError)
_MISFITS = ("size mismatch", "width changed", "Missing key(s)", "Unexpected key(s)")


def _plain(reference: Reference, error: Exception) -> str:
    text = _first_lines(error)
    if isinstance(error, _SLIPS) or any(sign in text for sign in _MISFITS):
        return (
            f"{reference.text}: the weights are of another architecture than {reference.title}, or "
            f"its configuration is damaged ({text})"
        )
    return f"cannot load {reference.text}: {text}"


def _first_lines(error: Exception, limit: int = 600) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= limit else text[:limit] + " ..."
