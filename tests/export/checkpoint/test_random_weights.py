"""Random weights that are good enough to measure parity on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from timm.models.eva import Eva

from tritonclip_export import samples
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.checkpoint.open_clip.random_weights import enliven


def enlivened(architecture: str, seed: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A model with its sample inputs: twelve photographs and the texts."""
    torch.manual_seed(seed)
    model, _, transform = open_clip.create_model_and_transforms(architecture)
    model.eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(architecture)
    pixels = torch.stack([transform(Image.open(file)) for file in samples.sample_images()])
    token_ids = tokenizer([text for text in samples.sample_texts() if text])
    enliven(model, pixels, token_ids, seed=seed)
    return model, pixels, token_ids


def mean_cosine(vectors: torch.Tensor) -> float:
    """Between two different rows."""
    cosines = vectors @ vectors.T
    return float(cosines[~torch.eye(len(vectors), dtype=torch.bool)].mean())


# Residual gains of zero and batch norm; layer scales of 1e-5; a class token that drowns the rest.
@pytest.mark.parametrize(
    "architecture",
    [*(pytest.param(n, marks=pytest.mark.slow) for n in ("RN50", "MobileCLIP2-S0")), "ViT-S-32"],
)
def test_photographs_and_texts_are_told_apart(architecture: str) -> None:
    model, pixels, token_ids = enlivened(architecture, 7)
    with torch.inference_mode():
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(token_ids, normalize=True)
    assert mean_cosine(images) < 0.9
    assert mean_cosine(texts) < 0.9


def test_a_rounding_error_stays_one_in_a_deep_tower(
    dual_encoder: Callable[[str], DualEncoder],
) -> None:
    """A chaotic tower, unlike a trained one, would be far from itself in half precision."""
    checkpoint = dual_encoder("resnet")
    pixels = np.stack([checkpoint.pixels(image) for image in samples.opened_images()])
    exact = torch.from_numpy(pixels).float() / 255 - 0.5
    tower = checkpoint.image_tower()

    with torch.inference_mode():
        reference = tower(exact)
        rounded = tower(exact.half().float())

    spread = (reference - reference.mean(dim=0)).norm()
    assert 0 < (rounded - reference).norm() / spread < 1e-3  # FP16 rounds to 5e-4


class PostNormTower(torch.nn.Module):
    """An image tower of EVA-02 E/14's kind and depth, and a text tower that is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.image = Eva(
            img_size=56, embed_dim=128, depth=64, num_heads=2, use_post_norm=True, num_classes=64
        )

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.image(pixels)
        return features

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        return token_ids


@torch.inference_mode()
def test_a_rounding_error_stays_one_where_branches_end_in_a_normalisation() -> None:
    torch.manual_seed(3)
    model = PostNormTower().eval().requires_grad_(False)
    photographs = [image.convert("RGB").resize((56, 56)) for image in samples.opened_images()]
    pixels = torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2) / 127.5 - 1
    enliven(model, pixels, torch.zeros(1, 4), seed=3)

    single = model.encode_image(pixels)
    double = model.double().encode_image(pixels.double())

    assert (single - double).norm() / (double - double.mean(dim=0)).norm() < 1e-5


class T5Tower(torch.nn.Module):
    """A text tower of mT5's kind, as deep as mT5-base, and an image tower that is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.text = transformers.MT5EncoderModel(
            transformers.MT5Config(
                vocab_size=1000, d_model=128, d_kv=64, d_ff=256, num_layers=12, num_heads=4
            )
        )

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def encode_text(self, token_ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.text(input_ids=token_ids).last_hidden_state
        return states.mean(dim=1)


@torch.inference_mode()
def test_a_rounding_error_stays_one_where_attention_leaves_its_scale_to_the_weights() -> None:
    torch.manual_seed(3)
    model = T5Tower().eval().requires_grad_(False)
    token_ids = torch.randint(0, 1000, (16, 20))
    enliven(model, torch.zeros(1, 3, 8, 8), token_ids, seed=3)

    reference = model.encode_text(token_ids)
    table = model.text.shared.weight
    table.copy_(table.half().float())
    error = (model.encode_text(token_ids) - reference).norm()

    assert 0 < error / (reference - reference.mean(dim=0)).norm() < 1e-3
