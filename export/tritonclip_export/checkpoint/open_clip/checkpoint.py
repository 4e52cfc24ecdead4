"""Checkpoints of open_clip: its architectures with their tags, files, and folders in its format."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import ImageSpec, Source
from tritonclip_export.checkpoint import weights_file
from tritonclip_export.checkpoint.dual_encoder import (
    DualEncoder,
    similarity_of,
    three,
    weights_sha256,
)
from tritonclip_export.checkpoint.open_clip import files as checkpoint_files
from tritonclip_export.checkpoint.open_clip import quick_gelu
from tritonclip_export.checkpoint.open_clip.tokenizer import convert, set_language
from tritonclip_export.checkpoint.references import Reference
from tritonclip_export.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from tritonclip_export.checkpoint.tokenizer import ServedTokenizer


@dataclass(frozen=True)
class OpenClipEncoder(DualEncoder):
    """A `CLIP`, `CustomTextCLIP` or `CoCa` of open_clip."""

    model: Any
    """In evaluation mode."""
    transform: Any
    """open_clip's own evaluation transform."""
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    """open_clip's own tokenizer."""

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """What the transform makes of an image before ToTensor and Normalize, its last steps."""
        for step in self.transform.transforms[:-2]:
            image = step(image)
        return np.asarray(image).transpose(2, 0, 1)

    def token_ids(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """By open_clip's tokenizer."""
        ids: npt.NDArray[np.int64] = self.tokenizer(list(texts)).numpy()
        return ids

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """By `encode_image`."""
        import torch

        with torch.inference_mode():
            pixels = torch.stack([self.transform(image) for image in images])
            features = self.model.encode_image(pixels, normalize=True)
            return np.asarray(features.float().numpy())

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """By `encode_text`."""
        import torch

        with torch.inference_mode():
            features = self.model.encode_text(self.tokenizer(list(texts)), normalize=True)
            return np.asarray(features.float().numpy())

    def image_tower(self) -> torch.nn.Module:
        """The visual tower itself."""
        from tritonclip_export.checkpoint.open_clip import towers

        return towers.image_tower(self.model)

    def text_tower(self) -> torch.nn.Module:
        """The text tower, rewritten for any length where it can be."""
        from tritonclip_export.checkpoint.open_clip import towers

        return towers.text_tower(self.model)

    def image_tokens_tower(self, layer: int) -> torch.nn.Module:
        """By `forward_intermediates`, without the class token."""
        from tritonclip_export.checkpoint.open_clip import tokens

        return tokens.image_tokens_tower(self.model, layer)

    def text_tokens_tower(self, layer: int) -> torch.nn.Module:
        """The blocks up to `layer`."""
        from tritonclip_export.checkpoint.open_clip import tokens

        return tokens.text_tokens_tower(self.model, layer)

    def served_tokenizer(self) -> ServedTokenizer:
        """Converted from open_clip's tokenizer."""
        return convert(self.tokenizer)


def load(
    reference: Reference,
    *,
    folder: Path | None,
    random_seed: int | None,
    source: Path | None,
    language: str | None,
) -> OpenClipEncoder:
    """Load with `open_clip.create_model_and_transforms`.

    Args:
        reference: the reference.
        folder: where the checkpoint lies, if it is not one of open_clip's architectures.
        random_seed: initialise a bare architecture at random.
        source: a folder to take the hub's files from; None asks the hub.
        language: the code that NLLB's tokenizer puts in front of texts.

    Raises:
        CheckpointError: no weights were named, or a seed as well as weights; files are missing, or
            no weights; the weights want the other activation; the tokenizer has no such language.
        Exception: whatever open_clip raises.
    """
    import open_clip
    import torch

    from tritonclip_export import samples
    from tritonclip_export.checkpoint.open_clip import random_weights, towers

    _check_weights(reference, random_seed)
    quick_gelu.check(reference)
    files = checkpoint_files.find(reference, folder, source)
    if files.weights is not None and Path(files.weights).is_file():
        weights_file.check(Path(files.weights))
    if random_seed is not None:
        torch.manual_seed(random_seed)
    with torch.no_grad(), tempfile.TemporaryDirectory(prefix="tritonclip-") as scratch:
        text = _without_decoder(files.config["text_cfg"], Path(scratch))
        model, _, transform = open_clip.create_model_and_transforms(
            _name(reference, folder),
            pretrained=files.weights,
            pretrained_text=False,
            require_pretrained=random_seed is None,
            text_cfg={**text, "hf_model_pretrained": False},
            **checkpoint_files.preprocessing(reference),
        )
        model.eval().requires_grad_(False)
        tokenizer = _tokenizer(reference, folder, files)
        if language is not None:
            set_language(tokenizer, language)
        if random_seed is not None:
            random_weights.enliven(
                model,
                torch.stack([transform(image) for image in samples.opened_images()]),
                tokenizer([text for text in samples.sample_texts() if text]),
                seed=random_seed,
            )
        return OpenClipEncoder(
            source=Source(
                library="open_clip",
                library_version=open_clip.__version__,
                reference=reference.text,
                architecture=reference.title,
                weights=reference.weights or ("default" if random_seed is None else "random"),
                random_seed=random_seed,
                language=language,
                weights_sha256=weights_sha256(model),
            ),
            model=model,
            transform=transform,
            tokenizer=tokenizer,
            dim=_embedding_dim(model, transform),
            image=_image_spec(model),
            similarity=similarity_of(model),
            dynamic_length=_dynamic_length(towers.text_tower(model), tokenizer),
        )


def _without_decoder(text: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """`text_cfg` with a text tower that is an encoder only, as open_clip keeps no more of it.

    It would build the decoder as well, which for mT5-XL takes 6 GB. The changed configuration of
    the tower is written to `scratch`.
    """
    name = text.get("hf_model_name")
    if name is None:
        return text
    import transformers

    config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    if not config.is_encoder_decoder:
        return text
    for key in {"num_decoder_layers", "decoder_layers"} & config.to_dict().keys():
        setattr(config, key, 0)
    config.save_pretrained(scratch)
    return {**text, "hf_model_name": str(scratch)}


def _name(reference: Reference, folder: Path | None) -> str:
    """open_clip's name for the model."""
    return reference.name if folder is None else f"local-dir:{folder}"


def _tokenizer(
    reference: Reference, folder: Path | None, files: checkpoint_files.Files
) -> Callable[[Sequence[str]], torch.Tensor]:
    """As `open_clip.get_tokenizer` makes it, from the folder where its files are."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    if files.tokenizer is None:
        return open_clip.get_tokenizer(_name(reference, folder))  # type: ignore[no-any-return]
    text = files.config["text_cfg"]
    return HFTokenizer(  # type: ignore[no-any-return]
        str(files.tokenizer),
        context_length=text.get("context_length") or DEFAULT_CONTEXT_LENGTH,
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs", {}),
    )


def _dynamic_length(tower: Any, tokenizer: Any) -> bool:
    """Whether the tower gives the same embedding at every length, with this tokenizer's padding."""
    if getattr(tokenizer, "tokenizer_mode", ""):
        return False  # the mode `clips` puts a token behind the padding
    masked = getattr(tower, "pad_id", None)
    return bool(tower.dynamic_length) and masked in (None, _pad_id(tokenizer))


def _pad_id(tokenizer: Any) -> int:
    inner = getattr(tokenizer, "tokenizer", None)
    return 0 if inner is None else int(inner.pad_token_id)


def _check_weights(reference: Reference, random_seed: int | None) -> None:
    bare = reference.kind == "architecture" and reference.weights is None
    if bare and random_seed is None:
        import open_clip

        tags = open_clip.list_pretrained_tags_by_model(reference.name)
        known = f" Pretrained tags: {', '.join(tags)}." if tags else ""
        raise CheckpointError(
            f"{reference.text!r} names no weights. Write {reference.name}:TAG or "
            f"{reference.name}:FILE, or ask for random weights with --random-weights.{known}"
        )
    if random_seed is not None and not bare:
        raise CheckpointError(
            f"{reference.text!r} names weights already; random weights need a bare architecture"
        )


def _image_spec(model: Any) -> ImageSpec:
    config = model.visual.preprocess_cfg
    size = config["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return ImageSpec(
        height=height,
        width=width,
        mean=three(config["mean"]),
        std=three(config["std"]),
        # open_clip treats its training-time choice "random" as bicubic in evaluation.
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        resize_mode=config["resize_mode"],
        fill=config["fill_color"],
    )


def _embedding_dim(model: Any, transform: Callable[[Image.Image], torch.Tensor]) -> int:
    """The length of an embedding, by asking the tower: its attribute differs by architecture."""
    import torch
    from PIL import Image

    with torch.no_grad():
        pixels = transform(Image.new("RGB", (8, 8))).unsqueeze(0)
        return int(model.encode_image(pixels).shape[-1])
