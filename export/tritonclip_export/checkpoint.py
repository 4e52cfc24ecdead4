"""Loading: from a reference to a dual encoder, by the library that the checkpoint belongs to.

Weights are only ever loaded as tensors: a pickle that wants to run code is refused.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.dual_encoder import DualEncoder
from tritonclip_export.errors import CheckpointError
from tritonclip_export.references import OPEN_CLIP_CONFIG, Reference, parse

__all__ = ["DualEncoder", "Reference", "load", "parse"]


def load(reference: Reference, *, random_seed: int | None = None) -> DualEncoder:
    """Load a checkpoint in FP32 on the CPU.

    Args:
        reference: what `parse` returned.
        random_seed: initialise at random instead of loading weights. Only for a bare architecture.

    Raises:
        CheckpointError: no weights were named, they cannot be had, they do not fit the
            architecture, they would run code, or their activation is not the architecture's.
    """
    from tritonclip_export import open_clip_checkpoint, transformers_checkpoint

    with _plain_errors(reference):
        if reference.kind == "folder" and not (Path(reference.name) / OPEN_CLIP_CONFIG).is_file():
            return transformers_checkpoint.load(reference, Path(reference.name))
        return open_clip_checkpoint.load(reference, random_seed)


@contextmanager
def _plain_errors(reference: Reference) -> Iterator[None]:
    """Turn what a library raises, or only warns of, into one typed error."""
    root = logging.getLogger()
    level = root.level
    # open_clip announces every step, and random weights, on the root logger.
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Exporting the wrong activation loses accuracy without any other sign.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    except CheckpointError:
        raise
    except UserWarning as error:
        raise CheckpointError(
            f"{reference.text}: these weights were trained with QuickGELU and the architecture has "
            f"GELU, or the reverse. Export {reference.name}-quickgelu, or the name without that "
            "ending, instead."
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{reference.text}: the weights are a pickle that would run code on loading, so they "
            "are refused. Ask their author for safetensors, or save the state_dict as that."
        ) from error
    except Exception as error:  # open_clip, timm, transformers and torch raise what they like
        raise CheckpointError(f"cannot load {reference.text}: {_first_lines(error)}") from error
    finally:
        root.setLevel(level)


def _first_lines(error: Exception, limit: int = 600) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= limit else text[:limit] + " ..."
