"""Checkpoints: from the reference a user types to a loaded dual encoder.

A reference is one of

- `ARCH:TAG`, an open_clip architecture and pretrained tag: `ViT-B-32:laion2b_s34b_b79k`
- `ARCH:FILE`, an architecture and a local weights file: `ViT-B-32:./finetuned.safetensors`
- `ARCH`, with a seed for random weights: for trying things and for benchmarks
- `hf-hub:ORG/NAME`, an open_clip model on the Hugging Face hub
- a folder with `open_clip_config.json` and weights, as open_clip's `local-dir:` takes it

Weights are only ever loaded as tensors: a pickle that wants to run code is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonclip_export.bundle import ImageSpec, Similarity, Source
from tritonclip_export.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

HUB_PREFIX = "hf-hub:"
FOLDER_PREFIX = "local-dir:"


@dataclass(frozen=True)
class Reference:
    """A parsed reference: what open_clip wants as model name and as weights."""

    text: str
    model_name: str
    weights: str | None

    @property
    def default_name(self) -> str:
        """A bundle name made of the reference: `ViT-B-32-laion2b_s34b_b79k`."""
        parts = self.architecture.rsplit("/", 1)[-1]
        if self.weights:
            parts = f"{parts}-{Path(self.weights).stem}"
        return "".join(c if c.isalnum() or c in "_.-" else "-" for c in parts)

    @property
    def architecture(self) -> str:
        """The architecture, the hub model, or the folder's name."""
        if self.model_name.startswith(FOLDER_PREFIX):
            return Path(self.model_name.removeprefix(FOLDER_PREFIX)).resolve().name
        return self.model_name.removeprefix(HUB_PREFIX)


@dataclass(frozen=True)
class DualEncoder:
    """A loaded checkpoint: both towers, in FP32 on the CPU, and everything around them."""

    source: Source
    model: torch.nn.Module
    """open_clip's `CLIP`, `CustomTextCLIP` or `CoCa`, in evaluation mode."""
    transform: Callable[[Image.Image], torch.Tensor]
    """open_clip's own evaluation transform."""
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    """open_clip's own tokenizer."""
    dim: int
    image: ImageSpec
    similarity: Similarity


def parse(text: str) -> Reference:
    """Resolve a reference without loading anything.

    Raises:
        CheckpointError: an unknown architecture, tag or folder; names the nearest known ones.
    """
    if text.startswith(HUB_PREFIX):
        return Reference(text, text, None)
    folder = Path(text.removeprefix(FOLDER_PREFIX)).expanduser()
    if text.startswith(FOLDER_PREFIX) or folder.is_dir():
        if not (folder / "open_clip_config.json").is_file():
            raise CheckpointError(
                f"{folder} is not a checkpoint: it has no open_clip_config.json. A checkpoint "
                "folder holds that file and open_clip_model.safetensors."
            )
        return Reference(text, f"{FOLDER_PREFIX}{folder}", None)
    architecture, _, weights = text.partition(":")
    return _parse_architecture(text, architecture.replace("/", "-"), weights)


def _parse_architecture(text: str, architecture: str, weights: str) -> Reference:
    import open_clip

    known = open_clip.list_models()
    if architecture not in known:
        raise CheckpointError(
            f"no architecture or folder is called {text!r}{_nearest(architecture, known)}. "
            "`tritonclip models` lists what can be exported."
        )
    if not weights:
        return Reference(text, architecture, None)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights in tags:
        return Reference(text, architecture, weights)
    if Path(weights).expanduser().is_file():
        return Reference(text, architecture, str(Path(weights).expanduser()))
    raise CheckpointError(
        f"{architecture} has no pretrained tag {weights!r}{_nearest(weights, tags)}, and no file "
        f"has that name. Its tags: {', '.join(tags) or 'none'}."
    )


def _nearest(word: str, known: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(by_lower[name] for name in close)}?" if close else ""


def load(reference: Reference, *, random_seed: int | None = None) -> DualEncoder:
    """Load a checkpoint in FP32 on the CPU.

    Args:
        reference: what `parse` returned.
        random_seed: initialise at random instead of loading weights. Only for a bare architecture.

    Raises:
        CheckpointError: no weights were named, they cannot be had, they do not fit the
            architecture, they would run code, or their activation is not the architecture's.
    """
    import open_clip
    import torch

    bare = reference.weights is None and ":" not in reference.model_name
    if bare and random_seed is None:
        tags = open_clip.list_pretrained_tags_by_model(reference.model_name)
        known = f" Pretrained tags: {', '.join(tags)}." if tags else ""
        raise CheckpointError(
            f"{reference.text!r} names no weights. Write {reference.model_name}:TAG or "
            f"{reference.model_name}:FILE, or ask for random weights with --random-weights.{known}"
        )
    if random_seed is not None:
        if not bare:
            raise CheckpointError(
                f"{reference.text!r} names weights already; random weights need a bare architecture"
            )
        torch.manual_seed(random_seed)
    with _plain_errors(reference), torch.no_grad():
        model, _, transform = open_clip.create_model_and_transforms(
            reference.model_name,
            pretrained=reference.weights,
            pretrained_text=False,
            require_pretrained=random_seed is None,
        )
        model.eval().requires_grad_(False)
        return DualEncoder(
            source=Source(
                library="open_clip",
                library_version=open_clip.__version__,
                reference=reference.text,
                architecture=reference.architecture,
                weights=reference.weights or ("default" if random_seed is None else "random"),
                random_seed=random_seed,
                weights_sha256=weights_sha256(model),
            ),
            model=model,
            transform=transform,
            tokenizer=open_clip.get_tokenizer(reference.model_name),
            dim=_embedding_dim(model, transform),
            image=_image_spec(model),
            similarity=_similarity(model),
        )


@contextmanager
def _plain_errors(reference: Reference) -> Iterator[None]:
    """Turn what open_clip raises, or only warns of, into one typed error."""
    root = logging.getLogger()
    level = root.level
    # open_clip announces every step, and random weights, on the root logger.
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Exporting the wrong activation loses accuracy without any other sign.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    except UserWarning as error:
        raise CheckpointError(
            f"{reference.text}: these weights were trained with QuickGELU and the architecture has "
            f"GELU, or the reverse. Export {reference.model_name}-quickgelu, or the name without "
            "that ending, instead."
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


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view("uint8"))
    return digest.hexdigest()


def _image_spec(model: Any) -> ImageSpec:
    config = model.visual.preprocess_cfg
    size = config["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return ImageSpec(
        height=height,
        width=width,
        mean=_three(config["mean"]),
        std=_three(config["std"]),
        # open_clip treats its training-time choice "random" as bicubic in evaluation.
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        resize_mode=config["resize_mode"],
        fill=config["fill_color"],
    )


def _three(value: float | Sequence[float]) -> tuple[float, float, float]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    return (float(values[0]), float(values[1]), float(values[2]))


def _similarity(model: Any) -> Similarity:
    """SigLIP-style checkpoints have a bias and were trained with a sigmoid per pair."""
    bias = model.logit_bias
    return Similarity(
        kind="softmax" if bias is None else "sigmoid",
        logit_scale=float(model.logit_scale.exp()),
        logit_bias=0.0 if bias is None else float(bias),
    )


def _embedding_dim(model: Any, transform: Callable[[Image.Image], torch.Tensor]) -> int:
    """The length of an embedding, by asking the tower: its attribute differs by architecture."""
    import torch
    from PIL import Image

    with torch.no_grad():
        pixels = transform(Image.new("RGB", (8, 8))).unsqueeze(0)
        return int(model.encode_image(pixels).shape[-1])
