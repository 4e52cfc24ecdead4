"""Text encoders that were taught to imitate a CLIP model's own, beside that model's image tower.

Two formats: that of Multilingual-CLIP (`model_type` M-CLIP in `config.json`) and that of Sentence
Transformers (`modules.json`). Both average a transformers encoder over a text's tokens and multiply
by one matrix. They hold no image tower: it is their teacher's, another checkpoint, which is known
for the published ones and named by `image_tower` in `config.json` for others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Source
from tritonclip_export.checkpoint import hub
from tritonclip_export.checkpoint.dual_encoder import DualEncoder, weights_sha256
from tritonclip_export.checkpoint.references import TRANSFORMERS_CONFIG, Reference
from tritonclip_export.checkpoint.transformers.checkpoint import (
    check_vocabulary,
    quiet,
    tokens,
    unit,
)
from tritonclip_export.errors import CheckpointError, ExportError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from tritonclip_export.checkpoint.distilled.towers import TextEncoder
    from tritonclip_export.checkpoint.tokenizer import ServedTokenizer

# The image towers that their authors name on the model cards.
IMAGE_TOWERS = {
    "XLM-Roberta-Large-Vit-B-32": "ViT-B-32-quickgelu:openai",
    "XLM-Roberta-Large-Vit-B-16Plus": "ViT-B-16-plus-240:laion400m_e32",
    "XLM-Roberta-Large-Vit-L-14": "ViT-L-14-quickgelu:openai",
    "LABSE-Vit-L-14": "ViT-L-14-quickgelu:openai",
    "clip-ViT-B-32-multilingual-v1": "ViT-B-32-quickgelu:openai",
}

# Where Sentence Transformers keeps what is not the transformer's.
MODULES = "modules.json"
LIMITS = "sentence_bert_config.json"
POOLING = "1_Pooling"
DENSE = "2_Dense"

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class DistilledEncoder(DualEncoder):
    """A text encoder and its teacher's image tower."""

    teacher: DualEncoder
    model: TextEncoder
    """In evaluation mode."""
    tokenizer: Any
    context_length: int

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The teacher's."""
        return self.teacher.pixels(image)

    def token_ids(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """By the tokenizer, with `padding="max_length"`."""
        return np.asarray(self._tokens(texts, padding="max_length")["input_ids"].numpy())

    def embed_images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """The teacher's."""
        return self.teacher.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """With the tokenizer's own attention mask."""
        import torch

        tokens = self._tokens(texts, padding=True)
        with torch.inference_mode():
            features = self.model(tokens["input_ids"], tokens["attention_mask"])
            return unit(features)

    def image_tower(self) -> torch.nn.Module:
        """The teacher's."""
        return self.teacher.image_tower()

    def text_tower(self) -> torch.nn.Module:
        """The text encoder, with the padding mask inside."""
        from tritonclip_export.checkpoint.distilled import towers

        return towers.text_tower(self.model, int(self.tokenizer.pad_token_id))

    def image_tokens_tower(self, layer: int) -> torch.nn.Module:
        """The teacher's."""
        return self.teacher.image_tokens_tower(layer)

    def text_tokens_tower(self, layer: int) -> torch.nn.Module:
        """None: what reads CLIP's hidden states cannot read these."""
        raise ExportError(
            f"there is no layer {layer} of CLIP's or SigLIP's text tower in a text encoder that "
            "imitates its embeddings only"
        )

    def served_tokenizer(self) -> ServedTokenizer:
        """Converted from the tokenizer."""
        from tritonclip_export.checkpoint import tokenizer

        return tokenizer.from_transformers(self.tokenizer, (), self.context_length)

    def _tokens(self, texts: Sequence[str], *, padding: bool | str) -> Any:
        return tokens(self.tokenizer, texts, self.context_length, padding=padding)


def is_distilled(folder: Path) -> bool:
    """Whether the folder holds such a text encoder; `modules.json` alone may be a whole CLIP's."""
    return _is_mclip(folder) or "Pooling" in _modules(folder)


def image_tower(reference: Reference, folder: Path) -> str:
    """The reference of the teacher.

    Raises:
        CheckpointError: it is not one of the published ones and does not say.
    """
    by_lower = {name.lower(): tower for name, tower in IMAGE_TOWERS.items()}
    name = reference.title.rpartition("/")[2].lower()
    found = _read(folder / TRANSFORMERS_CONFIG).get("image_tower") or by_lower.get(name)
    if found is None:
        raise CheckpointError(
            f"{reference.text} is a text encoder without an image tower. Known by their name are "
            f"{', '.join(IMAGE_TOWERS)}; for another, add the reference of its teacher to "
            f'{TRANSFORMERS_CONFIG}, as in "image_tower": "ViT-B-32-quickgelu:openai".'
        )
    return str(found)


def wanted(repository: str, folder: Path) -> list[hub.Wanted]:
    """The files of a checkpoint on the hub, beside those in `folder`: what says its format."""
    tokenizer = hub.tokenizer(repository)
    if _is_mclip(folder):
        # The published ones are from before safetensors.
        return [hub.weights(repository, *reversed(WEIGHTS)), tokenizer, _mclip_base(folder)]
    dense = tuple(f"{DENSE}/{name}" for name in WEIGHTS)
    return [
        hub.weights(repository, *WEIGHTS),
        tokenizer,
        hub.Wanted(repository, "longest text", (LIMITS,)),
        hub.Wanted(repository, "pooling", (f"{POOLING}/{TRANSFORMERS_CONFIG}",)),
        hub.Wanted(repository, "last layer", (f"{DENSE}/{TRANSFORMERS_CONFIG}",)),
        hub.Wanted(repository, "last layer's weights", dense),
    ]


def load(
    reference: Reference, folder: Path, teacher: DualEncoder, source: Path | None
) -> DistilledEncoder:
    """Load the text encoder in `folder`.

    Args:
        reference: the reference.
        folder: where the checkpoint lies.
        teacher: has the image tower.
        source: a folder to take the hub's files from; None asks the hub.

    Raises:
        CheckpointError: weights are missing, it does not go with its teacher or its tokenizer, or
            it does something else than to average and to multiply.
        Exception: whatever transformers raises.
    """
    import transformers

    limit = None
    if _is_mclip(folder):
        encoder = _mclip(reference, folder, source)
    else:
        encoder, limit = _sentence_transformers(folder)
    encoder.eval().requires_grad_(False)
    dim = encoder.projection.out_features
    if dim != teacher.dim:
        raise CheckpointError(
            f"{reference.text} embeds texts in {dim} dimensions, its image tower "
            f"{teacher.source.reference} images in {teacher.dim}: they do not belong together"
        )
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    config = encoder.transformer.config
    check_vocabulary(tokenizer, config)
    # RoBERTa counts positions from its padding id on.
    reserved = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    positions = config.max_position_embeddings - reserved
    weights = f"{teacher.source.weights_sha256} {weights_sha256(encoder)}"
    return DistilledEncoder(
        source=Source(
            library="transformers",
            library_version=transformers.__version__,
            reference=reference.text,
            architecture=reference.title,
            weights="default",
            weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
        ),
        dim=dim,
        image=teacher.image,
        similarity=teacher.similarity,
        dynamic_length=True,
        teacher=teacher,
        model=encoder,
        tokenizer=tokenizer,
        context_length=min(limit or positions, int(tokenizer.model_max_length), positions),
    )


def _mclip(reference: Reference, folder: Path, source: Path | None) -> TextEncoder:
    """One file holds `transformer.*` and `LinearTransformation.*`; its base only says the shape."""
    import torch
    import transformers

    from tritonclip_export.checkpoint.distilled.towers import TextEncoder

    config = _read(folder / TRANSFORMERS_CONFIG)
    base = _mclip_base(folder)
    path = hub.obtain([base], source, reference=reference.text)[base]
    transformer = transformers.AutoModel.from_config(
        transformers.AutoConfig.from_pretrained(path.parent), dtype=torch.float32
    )
    projection = torch.nn.Linear(config["transformerDimensions"], config["numDims"])
    weights = _weights(folder)
    parts = {"transformer.": transformer, "LinearTransformation.": projection}
    for prefix, module in parts.items():
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
        _check_whole(folder, module.load_state_dict(found, strict=False).missing_keys, prefix)
    return TextEncoder(transformer, projection)


def _sentence_transformers(folder: Path) -> tuple[TextEncoder, int | None]:
    """A transformers checkpoint, and folders for what follows it."""
    import torch
    import transformers

    from tritonclip_export.checkpoint.distilled.towers import TextEncoder

    what = "of Sentence Transformers' modules, Transformer, Pooling (mean) and Dense are supported"
    if (modules := _modules(folder)) != ["Transformer", "Pooling", "Dense"]:
        raise CheckpointError(f"{folder} is made of {', '.join(modules)}; {what}")
    if (modes := _pooling_modes(_read(folder / POOLING / TRANSFORMERS_CONFIG))) != {"mean"}:
        raise CheckpointError(f"{folder} pools by {', '.join(sorted(modes))}; {what}")
    dense = _read(folder / DENSE / TRANSFORMERS_CONFIG)
    if not str(dense["activation_function"]).endswith(".Identity"):
        raise CheckpointError(
            f"{folder} has the activation {dense['activation_function']}; {what} (without one)"
        )
    with quiet():
        transformer, loading = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    _check_whole(folder, loading["missing_keys"])
    projection = torch.nn.Linear(dense["in_features"], dense["out_features"], bias=dense["bias"])
    weights = _weights(folder / DENSE)
    projection.load_state_dict({k.removeprefix("linear."): v for k, v in weights.items()})
    return TextEncoder(transformer, projection), _read(folder / LIMITS).get("max_seq_length")


def _pooling_modes(config: dict[str, Any]) -> set[str]:
    """By name, as Sentence Transformers 6 writes them, or by a switch for each, as before."""
    if named := config.get("pooling_mode"):
        return {named} if isinstance(named, str) else set(named)
    prefix = "pooling_mode_"
    switched = {name for name, on in config.items() if name.startswith(prefix) and on}
    return {name.removeprefix(prefix).partition("_token")[0] for name in switched}


def _check_whole(folder: Path, missing: Iterable[str], prefix: str = "") -> None:
    """Fail where weights are missing; BERT's pooler is another head's."""
    if lacking := sorted(name for name in missing if not name.startswith("pooler.")):
        raise CheckpointError(f"the weights in {folder} lack {prefix}{lacking[0]}")


def _is_mclip(folder: Path) -> bool:
    return bool(_read(folder / TRANSFORMERS_CONFIG).get("model_type") == "M-CLIP")


def _mclip_base(folder: Path) -> hub.Wanted:
    return hub.text_config(_read(folder / TRANSFORMERS_CONFIG)["modelBase"])


def _modules(folder: Path) -> list[str]:
    """Classes of the modules of Sentence Transformers, in their order."""
    file = folder / MODULES
    return [m["type"].rpartition(".")[2] for m in _read(file)] if file.is_file() else []


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    safe, pickled = (folder / name for name in WEIGHTS)
    weights: dict[str, torch.Tensor] = (
        load_file(safe)
        if safe.is_file()
        else torch.load(pickled, map_location="cpu", weights_only=True)
    )
    return weights


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
