"""Heads in files: ours, those of others proven with random weights, and what is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tritonclip_search import InvalidHead
from tritonclip_search.heads.file import load, parse, to_bytes
from tritonclip_search.heads.head import Head, Layer


def in_sequence(widths: Sequence[int], *, relus: int) -> nn.Sequential:
    """Linear layers as LAION wrote them: a ReLU after some, dropout after all but the last two."""
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(before, after))
        if place < relus:
            layers.append(nn.ReLU())
        if place < len(widths) - 3:
            layers.append(nn.Dropout(0.2))
    return nn.Sequential(*layers).eval()


class Wrapped(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class OfNormal(nn.Module):
    """LAION's detector for ViT-L/14: Keras's normalisation, and a probability at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Module()
        self.norm.register_buffer("mean", torch.randn(768) / 28)
        self.norm.register_buffer("variance", torch.rand(768) / 768)
        for place, (before, after) in enumerate(pairwise((768, 64, 512, 256, 1)), 1):
            setattr(self, f"linear_{place}", nn.Linear(before, after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.norm.mean) / self.norm.variance.sqrt()
        for layer in (self.linear_1, self.linear_2, self.linear_3):
            x = layer(x).relu()
        return self.linear_4(x).sigmoid()


class Checker(nn.Module):
    """Stable Diffusion's: cosines with concepts above their thresholds, beside its own tower."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_model = nn.Linear(4, 4)
        self.visual_projection = nn.Linear(4, 4, bias=False)
        self.concept_embeds = nn.Parameter(torch.randn(17, 768))
        self.special_care_embeds = nn.Parameter(torch.randn(3, 768))
        self.register_buffer("concept_embeds_weights", torch.rand(17) / 4)
        self.register_buffer("special_care_embeds_weights", torch.rand(3) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        special = nn.functional.cosine_similarity(x[:, None], self.special_care_embeds, dim=-1)
        concepts = nn.functional.cosine_similarity(x[:, None], self.concept_embeds, dim=-1)
        return torch.cat(
            [special - self.special_care_embeds_weights, concepts - self.concept_embeds_weights], 1
        )


PUBLISHED: dict[str, nn.Module] = {
    "LAION aesthetic, linear": nn.Linear(768, 1),
    "LAION aesthetic, improved": Wrapped(in_sequence((768, 1024, 128, 64, 16, 1), relus=0)),
    "LAION CLIP-based NSFW detector, H-14": Wrapped(
        in_sequence((1024, 1024, 2048, 1024, 256, 128, 16, 1), relus=5)
    ),
    "LAION CLIP-based NSFW detector, L-14": OfNormal(),
    "Stable Diffusion safety checker": Checker(),
}


@pytest.mark.parametrize("layout", PUBLISHED)
def test_a_published_head_gives_what_its_own_module_gives(layout: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = PUBLISHED[layout]
    save_file(module.state_dict(), tmp_path / "score.safetensors")
    head = load(tmp_path / "score.safetensors")
    vectors = nn.functional.normalize(torch.randn(20, head.dim), dim=1)
    with torch.inference_mode():
        expected = module(vectors).numpy()
    assert (head.name, head.layout, len(head.labels)) == ("score", layout, expected.shape[1])
    np.testing.assert_allclose(head.scores(vectors.numpy()), expected, atol=1e-5)


def test_the_scores_of_a_checker_say_which_concept(tmp_path: Path) -> None:
    save_file(Checker().state_dict(), tmp_path / "checker.safetensors")
    labels = load(tmp_path / "checker.safetensors").labels
    assert labels[:4] == ("special care 1", "special care 2", "special care 3", "concept 1")


@pytest.mark.parametrize("output", ["score", "sigmoid", "softmax"])
def test_a_head_of_ours_comes_back_as_it_was(output: str) -> None:
    random = np.random.default_rng(2)
    layers = (
        Layer(random.normal(size=(4, 8)).astype(np.float32), np.ones(4, np.float32), relu=True),
        Layer(random.normal(size=(3, 4)).astype(np.float32), np.zeros(3, np.float32)),
    )
    head = Head("h", ("a", "b", "c"), layers, output, "tritonclip", card={"examples": 3})  # type: ignore[arg-type]
    encoded = to_bytes(head)
    back = parse(encoded, "other", "memory")
    vectors = random.normal(size=(5, 8)).astype(np.float32)
    np.testing.assert_array_equal(back.scores(vectors), head.scores(vectors))
    assert (back.name, back.labels, back.card) == ("h", ("a", "b", "c"), {"examples": 3})
    assert to_bytes(back) == encoded
    if output != "score":
        scores = back.scores(vectors).astype(np.float64)
        odds = np.log(scores / (1 - scores))
        np.testing.assert_allclose(back.log_odds(vectors), odds, atol=1e-3)


def test_a_pickle_is_not_read_and_its_conversion_is_named(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (ran,)

    torch.save(Harm(), tmp_path / "head.pth")
    with pytest.raises(InvalidHead, match=r"is a pickle.*weights_only=True.*head\.safetensors"):
        load(tmp_path / "head.pth")
    (tmp_path / "head.pth").rename(tmp_path / "head.safetensors")
    with pytest.raises(InvalidHead, match="is not a safetensors file"):
        load(tmp_path / "head.safetensors")
    assert not ran.exists()


def test_what_is_no_head_is_named_with_its_tensors(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, 8), "bias": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(InvalidHead, match=r"no head known here.*bias \[2\], weight \[2, 8\]"):
        load(tmp_path / "a.safetensors")
    save_file({"weight": torch.full((1, 8), torch.nan), "bias": torch.zeros(1)}, tmp_path / "b.st")
    with pytest.raises(InvalidHead, match="the tensor weight has numbers that are not finite"):
        load(tmp_path / "b.st")
    with pytest.raises(InvalidHead, match="cannot be read: No such file"):
        load(tmp_path / "none.safetensors")
