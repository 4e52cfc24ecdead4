"""Optional outputs: every patch's and every text token's vector, as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tritonclip_export.bundle import Bundle, Tower
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.errors import ExportError
from tritonclip_export.export.writing import export, up_to_date
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.samples import opened_images, sample_texts

# A plain ViT of open_clip's; SigLIP's, whose image tower is timm's and whose text tower attends to
# padding.
CHECKPOINTS = ("vit", pytest.param("siglip", marks=pytest.mark.slow))

FloatArray = npt.NDArray[np.floating[Any]]


def after(block: torch.nn.Module, run: Callable[[], object]) -> FloatArray:
    """What `block` gives while the model runs as it always does."""
    seen: list[torch.Tensor] = []
    hook = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        run()
    hook.remove()
    return seen[-1].numpy()


def encoder(bundle: Bundle, tower: str) -> Encoder:
    (tokens,) = (tokens for tokens in bundle.info.tokens if tokens.tower == tower)
    return Encoder(bundle.file(tokens.file))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_patch_tokens_are_those_before_the_last_layer(
    name: str, dual_encoder: Callable[[str], Any], tokens_bundle: Callable[[str], Bundle]
) -> None:
    reference, images = dual_encoder(name), opened_images()[:3]
    visual = reference.model.visual
    blocks = visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks
    expected = after(blocks[-2], lambda: reference.embed_images(images))

    pixels = np.stack([reference.pixels(image) for image in images])
    found = encoder(tokens_bundle(name), "image")(pixels)

    # A class token stands before the patches.
    assert expected.shape[1] - found.shape[1] in (0, 1)
    assert np.abs(found - expected[:, expected.shape[1] - found.shape[1] :]).max() < 1e-4


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_text_tokens_are_those_that_are_pooled(
    name: str, dual_encoder: Callable[[str], Any], tokens_bundle: Callable[[str], Bundle]
) -> None:
    reference, texts = dual_encoder(name), sample_texts()[:5]
    tower = getattr(reference.model, "text", reference.model)
    expected = after(tower.ln_final, lambda: reference.embed_texts(texts))

    ids = reference.token_ids(texts).astype(np.int32)
    found = encoder(tokens_bundle(name), "text")(ids)

    assert np.abs(found - expected).max() < 1e-4


def test_short_texts_have_the_same_tokens_at_any_padded_length(
    dual_encoder: Callable[[str], Any], tokens_bundle: Callable[[str], Bundle]
) -> None:
    ids = dual_encoder("vit").token_ids(["a cat"]).astype(np.int32)
    encode = encoder(tokens_bundle("vit"), "text")
    assert np.abs(encode(ids[:, :8]) - encode(ids)[:, :8]).max() < 1e-5


def test_the_bundle_records_them_and_their_parity(
    dual_encoder: Callable[[str], DualEncoder], tokens_bundle: Callable[[str], Bundle]
) -> None:
    bundle = Bundle.load(tokens_bundle("vit").path)
    bundle.check_files()
    assert [(t.tower, t.layer, t.count) for t in bundle.info.tokens] == [
        ("image", -2, 16),
        ("text", -1, None),
    ]
    stages = {figure.stage: figure.passed for figure in bundle.info.parity}
    assert stages["onnx image tokens"]
    assert stages["onnx text tokens"]
    again = {"name": "vit", "max_batch": 4}
    assert up_to_date(dual_encoder("vit"), bundle.path, **again) is None
    layers: dict[Tower, int] = {"image": -2, "text": -1}
    assert up_to_date(dual_encoder("vit"), bundle.path, **again, tokens=layers) is not None


@pytest.mark.parametrize(
    ("name", "layers", "reason"),
    [
        ("vit", {"image": -9}, "no patch tokens at layer -9"),
        ("vit", {"text": -9}, "layers -1 to -2, not -9"),
        ("resnet", {"image": -1}, "no patch tokens"),
    ],
)
def test_what_a_tower_does_not_have_is_refused_before_anything_is_written(
    name: str,
    layers: dict[Tower, int],
    reason: str,
    dual_encoder: Callable[[str], DualEncoder],
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match=reason):
        export(dual_encoder(name), tmp_path / "bundle", name=name, tokens=layers)
    assert not (tmp_path / "bundle").exists()
