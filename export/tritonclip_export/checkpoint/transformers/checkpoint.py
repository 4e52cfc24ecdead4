"""Checkpoints of Hugging Face transformers: folders as `save_pretrained` writes them.

The reference is the model's `get_image_features` and `get_text_features`, its Pillow image
processor (`backend="pil"`; the torchvision one resizes differently) and its own tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Source
from tritonclip_export.checkpoint import hub
from tritonclip_export.checkpoint.dual_encoder import DualEncoder, similarity_of, weights_sha256
from tritonclip_export.checkpoint.references import TRANSFORMERS_CONFIG, Reference
from tritonclip_export.checkpoint.transformers.images import image_spec
from tritonclip_export.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from tritonclip_export.checkpoint.tokenizer import ServedTokenizer
    from tritonclip_export.checkpoint.transformers.towers import Family


@dataclass(frozen=True)
class TransformersEncoder(DualEncoder):
    """A model of one of the families in `towers`."""

    family: Family
    model: Any
    """In evaluation mode."""
    processor: Any
    """Its image processor, on Pillow."""
    tokenizer: Any
    context_length: int

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """By the image processor, without its rescaling and normalisation."""
        (pixels,) = self._processed([image], do_rescale=False, do_normalize=False)
        return np.asarray(pixels)

    def token_ids(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """By the tokenizer, with `padding="max_length"`."""
        return np.asarray(self._tokens(texts, padding="max_length")["input_ids"].numpy())

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """By `get_image_features`."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(self._processed(images)))
            return unit(self.model.get_image_features(pixel_values=pixels))

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """By `get_text_features`."""
        import torch

        # To the longest text where that is the same: contexts of 512 are seldom full.
        encoded = self._tokens(texts, padding=True if self.dynamic_length else "max_length")
        # Towers that were trained with attended padding want no mask, though tokenizers offer it.
        mask = None if self.family.padding == "attended" else encoded["attention_mask"]
        with torch.inference_mode():
            return unit(
                self.model.get_text_features(input_ids=encoded["input_ids"], attention_mask=mask)
            )

    def image_tower(self) -> torch.nn.Module:
        """The vision model and its projection."""
        from tritonclip_export.checkpoint.transformers import towers

        return towers.image_tower(self.model)

    def text_tower(self) -> torch.nn.Module:
        """The text model and its projection, with the padding mask inside."""
        from tritonclip_export.checkpoint.transformers import towers

        pad_id = int(self.tokenizer.pad_token_id)
        return towers.text_tower(self.model, self.family, pad_id)

    def image_tokens_tower(self, layer: int) -> torch.nn.Module:
        """The hidden states of the vision model, without the class token."""
        from tritonclip_export.checkpoint.transformers import tokens

        return tokens.image_tokens_tower(self.model, layer)

    def text_tokens_tower(self, layer: int) -> torch.nn.Module:
        """The hidden states of the text model and its final normalisation."""
        from tritonclip_export.checkpoint.transformers import tokens

        return tokens.text_tokens_tower(self.model, layer)

    def served_tokenizer(self) -> ServedTokenizer:
        """Converted from the tokenizer."""
        from tritonclip_export.checkpoint import tokenizer

        return tokenizer.from_transformers(self.tokenizer, (), self.context_length)

    def _processed(self, images: Sequence[Image.Image], **steps: bool) -> list[Any]:
        features = self.processor(images=list(images), do_convert_rgb=True, **steps)
        return list(features["pixel_values"])

    def _tokens(self, texts: Sequence[str], *, padding: bool | str) -> Any:
        return tokens(self.tokenizer, texts, self.context_length, padding=padding)


def tokens(
    tokenizer: Any, texts: Sequence[str], context_length: int, *, padding: bool | str
) -> Any:
    """Ids and attention mask by the checkpoint's own tokenizer, cut at `context_length`."""
    return tokenizer(
        list(texts),
        padding=padding,
        truncation=True,
        max_length=context_length,
        return_tensors="pt",
    )


def wanted(repository: str) -> list[hub.Wanted]:
    """The files of a checkpoint on the hub, beside its `config.json`."""
    weights = ("model.safetensors", f"model.safetensors{hub.SHARDS_SUFFIX}", "pytorch_model.bin")
    processor = ("preprocessor_config.json", "processor_config.json")
    return [
        hub.weights(repository, *weights),
        hub.Wanted(repository, "image processor", processor),
        hub.tokenizer(repository),
    ]


def load(reference: Reference, folder: Path) -> TransformersEncoder:
    """Load the checkpoint in `folder`.

    Raises:
        CheckpointError: a `model_type` that is not supported, missing weights, or a tokenizer that
            does not go with the tower.
        Exception: whatever transformers raises.
    """
    import torch
    import transformers

    family = _family(folder)
    with quiet():
        model, loading = getattr(transformers, family.model_class).from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if missing := sorted(loading["missing_keys"]):
        # transformers would initialise them at random and only warn.
        raise CheckpointError(
            f"{folder} is not a whole {family.model_class}: its weights lack {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        )
    model.eval().requires_grad_(False)
    _check_tokenizer(model, tokenizer, family)
    positions = model.config.text_config.max_position_embeddings - family.reserved_positions
    return TransformersEncoder(
        source=Source(
            library="transformers",
            library_version=transformers.__version__,
            reference=reference.text,
            architecture=reference.title,
            weights="default",
            weights_sha256=weights_sha256(model),
        ),
        dim=embedding_dim(model),
        image=image_spec(processor),
        similarity=similarity_of(model),
        dynamic_length=family.dynamic_length and not _pools_at_padding(model, tokenizer, family),
        family=family,
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        context_length=min(int(tokenizer.model_max_length), positions),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and its reports of what this module checks itself."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _family(folder: Path) -> Family:
    from tritonclip_export.checkpoint.transformers.towers import FAMILIES

    config = json.loads((folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8"))
    model_type = config.get("model_type")
    if model_type == "siglip2":
        raise CheckpointError(
            f"{folder} is a SigLIP 2 NaFlex checkpoint, whose images keep their own shapes; PIXELS "
            "have one size. Export one of fixed resolution (google/siglip2-base-patch16-224, ...)."
        )
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder} is a transformers checkpoint of model_type {model_type!r}; supported are "
            f"{', '.join(sorted(FAMILIES))}, and every open_clip checkpoint."
        )
    return FAMILIES[model_type]


def check_vocabulary(tokenizer: Any, config: Any) -> None:
    """Fail where a tokenizer gives ids that the text tower of `config` has no embedding for.

    Raises:
        CheckpointError: says which.
    """
    if tokenizer.pad_token_id is None:
        raise CheckpointError("the tokenizer names no padding token (pad_token)")
    # Added tokens beyond the tower's vocabulary are no fault as long as nobody types them.
    if max(tokenizer.vocab_size, tokenizer.pad_token_id + 1) > config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has a vocabulary of {tokenizer.vocab_size} and pads with "
            f"{tokenizer.pad_token_id}, the text tower has a vocabulary of {config.vocab_size}: "
            "they do not belong together"
        )


def _check_tokenizer(model: Any, tokenizer: Any, family: Family) -> None:
    """Fail where the tower would look for an end token that the tokenizer never gives.

    It would then pool every text at position 0, which no error and no parity figure shows.
    """
    config = model.config.text_config
    check_vocabulary(tokenizer, config)
    if family.padding != "invisible" or config.eos_token_id == family.highest_id_eos:
        return
    if config.eos_token_id not in tokenizer("a photo")["input_ids"]:
        raise CheckpointError(
            f"the text tower pools at token {config.eos_token_id} (text_config.eos_token_id), which"
            f" the tokenizer never gives; its own end is {tokenizer.eos_token_id}"
        )


def _pools_at_padding(model: Any, tokenizer: Any, family: Family) -> bool:
    """Whether the highest id, where such a tower pools, may be padding after the end token."""
    eos = model.config.text_config.eos_token_id
    legacy = eos is not None and eos == family.highest_id_eos
    return bool(legacy and tokenizer.pad_token_id > tokenizer.eos_token_id)


def embedding_dim(model: Any) -> int:
    """The length of an embedding."""
    projection = getattr(model, "text_projection", None) or model.text_model.head
    return int(projection.out_features)


def unit(output: Any) -> npt.NDArray[np.float32]:
    """Features, or an output of transformers that holds them, as unit vectors [n, dim]."""
    import torch

    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return np.asarray(torch.nn.functional.normalize(features.float(), dim=-1).numpy())
