"""Train the demo checkpoint: a small CLIP that knows emoji drawings by their names.

    npm install emojibase-data@17 @iconify-json/{noto,noto-v1,fluent-emoji,fluent-emoji-flat} \
        @iconify-json/{fluent-emoji-high-contrast,emojione,emojione-monotone,fxemoji} \
        @iconify-json/{flag,circle-flags,flagpack,twemoji,openmoji}
    pip install open_clip_torch resvg-py pillow
    python scripts/train_demo_checkpoint.py --node-modules node_modules --output demo/checkpoint

Each step shows a batch of emoji in two drawing styles each, differently distorted, with a caption
for each and captions of several hundred other emoji. The loss asks both views to find their caption
among all of these, each caption of the batch to find its picture, and the two views to find each
other. Hidden matrices are trained with Muon (Jordan et al. 2024), the rest with AdamW; the weights
kept are an exponential moving average.

Learning rates follow the clock, not a step count, so that a run ends when it was asked to on any
machine. Twemoji and OpenMoji are installed for the names of their icons and for evaluation; their
drawings are never trained on. The image tower is compiled by torch, which needs a C++ compiler.
"""

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from emoji import FLAG_STYLES, Drawings, Emoji, named_captions, rasterise, tagged_captions

STYLES = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "emojione",
    "emojione-monotone",
    "fxemoji",
    *FLAG_STYLES,
)
MODEL_CFG: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {
        "timm_model_name": "pvt_v2_b0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 64,
    },
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 49408,
        "width": 96,
        "heads": 3,
        "layers": 3,
    },
}
PREPROCESS_CFG: dict[str, Any] = {
    "size": 64,
    "mode": "RGB",
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


@dataclass(frozen=True)
class Recipe:
    """Sizes, rates and weights of the training run."""

    batch: int = 128  # emoji a step, two drawings of each
    texts: int = 640  # captions a step: the batch's own and negatives
    canvas: int = 88  # side of the stored drawings, a margin above what the model sees
    small_size: int = 48  # side of the pictures in the first part of the run: cheaper steps
    small_until: float = 0.45  # fraction of the run
    muon_lr: float = 5e-3
    adam_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.04  # fraction of the run
    view_weight: float = 0.3
    view_temperature: float = 0.1
    ema: float = 0.995
    save_every_s: float = 240.0


class Corpus:
    """Drawings of each emoji (premultiplied RGBA, uint8) and its captions as token ids."""

    def __init__(self, node_modules: Path, styles: Sequence[str], canvas: int) -> None:
        drawings = Drawings(node_modules)
        pixels: list[np.ndarray[Any, Any]] = []
        views: dict[Emoji, list[int]] = {}
        for style in styles:
            for emoji, svg in drawings.of_style(style).items():
                rgba = rasterise(svg, canvas).astype(np.uint16)
                rgba[..., :3] = rgba[..., :3] * rgba[..., 3:] // 255
                views.setdefault(emoji, []).append(len(pixels))
                pixels.append(rgba.astype(np.uint8).transpose(2, 0, 1))
        self.pixels = torch.from_numpy(np.stack(pixels))
        self.emoji = list(views)
        self.views = list(views.values())
        context = MODEL_CFG["text_cfg"]["context_length"]
        tokenizer = open_clip.SimpleTokenizer(context_length=context)
        self.captions = [tokenizer(named_captions(e)) for e in self.emoji]
        self.tagged = [tokenizer(tagged_captions(e)) for e in self.emoji]

    def sample(self, batch: int, texts: int) -> tuple[Tensor, Tensor]:
        """Drawings and captions of `batch` different emoji, and captions of others up to `texts`.

        Returns:
            Pixels [2 * batch, 4, canvas, canvas], first one drawing of each emoji and then another
            (the same where there is but one), and token ids [texts, length], the batch's own
            captions first, cut to the longest.
        """
        chosen = random.sample(range(len(self.emoji)), texts)
        views = [self.views[i] for i in chosen[:batch]]
        first, second = zip(
            *(random.sample(v, 2) if len(v) > 1 else v * 2 for v in views), strict=True
        )
        pools = [self.tagged[i] if random.random() < 0.2 else self.captions[i] for i in chosen]
        tokens = torch.stack([random.choice(pool) for pool in pools])
        return self.pixels[list(first + second)], tokens[:, : int((tokens != 0).sum(dim=1).max())]


def uniform(batch: int, low: float, high: float) -> Tensor:
    """One number for each picture, [batch, 1, 1, 1]."""
    return torch.empty(batch, 1, 1, 1).uniform_(low, high)


def chance(batch: int, probability: float) -> Tensor:
    """One coin for each picture, [batch, 1, 1, 1]."""
    return torch.rand(batch, 1, 1, 1) < probability


def distort(rgba: Tensor, size: int) -> Tensor:
    """Random affine map and a smooth random displacement, resampled to `size`."""
    n = len(rgba)
    angle = torch.randn(n) * 0.13
    scale = torch.empty(n).uniform_(0.85, 1.4)
    stretch, shear = torch.randn(2, n) * 0.08
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack(
        [
            *(cos * (1 + stretch), -sin + shear, torch.randn(n) * 0.1),
            *(sin, cos * (1 - stretch), torch.randn(n) * 0.1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows.view(n, 2, 3), [n, 4, size, size], align_corners=False)
    wobble = torch.randn(n, 2, 5, 5) * uniform(n, 0.0, 0.07)
    wobble = F.interpolate(wobble, (size, size), mode="bicubic", align_corners=True)
    return F.grid_sample(rgba, grid + wobble.permute(0, 2, 3, 1), align_corners=False)


def recolour(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Random hue rotation, saturation, contrast and brightness of premultiplied colours."""
    n = len(rgb)
    grey = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    angle = torch.randn(n, 1, 1) * 0.2
    hue = torch.cos(angle) * torch.eye(3) + (1 - torch.cos(angle)) * grey + torch.sin(angle) * cross
    saturation = torch.empty(n, 1, 1).uniform_(0.5, 1.5)
    saturation[torch.rand(n) < 0.06] = 0.0
    matrix = grey + saturation * (hue - grey)
    matrix = (matrix + torch.randn(n, 3, 3) * 0.05) * torch.empty(n, 1, 1).uniform_(0.65, 1.25)
    offset = torch.randn(n, 3, 1, 1) * 0.04 + uniform(n, -0.1, 0.2)
    mixed = torch.einsum("nij,njhw->nihw", matrix, rgb) + offset * alpha
    return mixed.clamp(min=0).minimum(alpha)


def background(n: int, size: int) -> Tensor:
    """White for every second picture, else a plain colour or a gradient between two."""
    corners = torch.rand(n, 3, 2, 2)
    corners = torch.where(chance(n, 0.6), corners[:, :, :1, :1].expand_as(corners), corners)
    colours = F.interpolate(corners, (size, size), mode="bilinear", align_corners=True)
    return torch.where(chance(n, 0.5), torch.ones(()), colours)


def augment(pixels: Tensor, size: int) -> Tensor:
    """Distorted, recoloured drawings on a background, normalised: [n, 3, size, size]."""
    n = len(pixels)
    rgba = distort(pixels.float() / 255, size)
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    rgb = recolour(rgb, alpha)

    grown = torch.where(chance(n, 0.5), F.max_pool2d(alpha, 3, 1, 1), F.max_pool2d(alpha, 5, 1, 2))
    outlined = chance(n, 0.25)
    ink = torch.rand(n, 3, 1, 1) * chance(n, 0.4)
    rgb = torch.where(outlined, rgb + (grown - alpha) * ink, rgb)
    alpha = torch.where(outlined, grown, alpha)

    image = rgb + (1 - alpha) * background(n, size)
    darkest = -F.max_pool2d(-image, 3, 1, 1)
    edges = (F.max_pool2d(image, 3, 1, 1) - darkest).amax(dim=1, keepdim=True)
    line_art = (1 - 1.5 * edges).clamp(0, 1).expand_as(image)
    image = torch.where(chance(n, 0.08), line_art, image)
    image = torch.where(chance(n, 0.1), darkest, image)
    blurred = F.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    image = torch.where(chance(n, 0.15), blurred, image)
    levels = torch.randint(2, 6, (n, 1, 1, 1))
    image = torch.where(chance(n, 0.15), torch.round(image * levels) / levels, image)

    steps = torch.linspace(-1, 1, size)
    centre, half = torch.rand(2, n, 1, 1, 1) * 2 - 1, uniform(n, 0.15, 0.45)
    hole = ((steps - centre[0]).abs() < half) & ((steps[:, None] - centre[1]).abs() < half)
    image = torch.where(hole & chance(n, 0.25), torch.rand(n, 3, 1, 1), image)

    mean = torch.tensor(PREPROCESS_CFG["mean"]).view(3, 1, 1)
    std = torch.tensor(PREPROCESS_CFG["std"]).view(3, 1, 1)
    return (image - mean) / std


def text_features(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """`model.encode_text`, for captions cut shorter than the context length."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    pooled = x[torch.arange(len(x)), tokens.argmax(dim=1)]
    return F.normalize(pooled @ model.text_projection, dim=1)


def loss(model: open_clip.CLIP, corpus: Corpus, recipe: Recipe, size: int) -> Tensor:
    """Contrastive loss of one random batch, its pictures `size` pixels wide."""
    n = recipe.batch
    pixels, tokens = corpus.sample(n, recipe.texts)
    images = augment(pixels, size)
    features = model.encode_image(images, normalize=True)
    logits = model.logit_scale.exp() * features @ text_features(model, tokens).T

    own = torch.arange(n)
    to_text = F.cross_entropy(logits, own.repeat(2))
    pairs = logits[:, :n].view(2, n, n)
    to_image = F.cross_entropy(pairs.transpose(1, 2).reshape(2 * n, n), own.repeat(2))
    between = features[:n] @ features[n:].T / recipe.view_temperature
    to_view = F.cross_entropy(between, own) + F.cross_entropy(between.T, own)
    return to_text + 0.5 * to_image + recipe.view_weight * to_view


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised; convolutions count as matrices [out, in * k * k].

    FP32 throughout (`torch.optim.Muon` takes only matrices and works in bfloat16, slow on a CPU).
    Steps are scaled to the size of AdamW's, so that the two learning rates are of one order.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter from its gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = 0.2 * math.sqrt(max(update.shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                step = orthogonalise(update).view_as(parameter)
                parameter.add_(step, alpha=-group["lr"] * scale)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Roughly the nearest semi-orthogonal matrix: five Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices and dense convolutions, AdamW for the rest."""
    hidden, decayed, free = [], [], []
    for name, parameter in model.named_parameters():
        if "embedding" in name:
            free.append(parameter)
        elif name in ("text_projection", "visual.head.proj.weight"):
            decayed.append(parameter)
        elif parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 24:
            hidden.append(parameter)
        else:
            (decayed if parameter.ndim >= 2 else free).append(parameter)
    adam_groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return [
        Muon(hidden, recipe.muon_lr, recipe.weight_decay),
        torch.optim.AdamW(adam_groups, lr=recipe.adam_lr, betas=(0.9, 0.98)),
    ]


def schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; `progress` runs from 0 to 1."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


def build_model() -> open_clip.CLIP:
    """The model `MODEL_CFG` describes, randomly initialised."""
    return open_clip.CLIP(**copy.deepcopy(MODEL_CFG))


def save(model: open_clip.CLIP, folder: Path) -> None:
    """Write open_clip's `local-dir` layout, weights in half precision, each file in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in model.state_dict().items()
    }
    partial = folder / "open_clip_model.safetensors.partial"
    save_file(weights, partial)
    partial.replace(folder / "open_clip_model.safetensors")
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def train(corpus: Corpus, minutes: float, output: Path, recipe: Recipe) -> open_clip.CLIP:
    """Train for `minutes`, saving the averaged weights to `output` every few; return them."""
    model = build_model().train()
    average = copy.deepcopy(model).eval().requires_grad_(False)
    model.visual.compile(dynamic=False)
    optimisers = optimizers(model, recipe)
    full_size = MODEL_CFG["vision_cfg"]["image_size"]
    peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    start = saved = time.monotonic()
    step, smooth = 0, 0.0
    while (elapsed := time.monotonic() - start) < minutes * 60:
        progress = elapsed / (minutes * 60)
        rate = schedule(progress, recipe.warmup)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            for group, lr in zip(optimiser.param_groups, peak, strict=True):
                group["lr"] = lr * rate
        small = progress < recipe.small_until
        value = loss(model, corpus, recipe, recipe.small_size if small else full_size)
        model.zero_grad()
        torch.autograd.backward(value)
        for optimiser in optimisers:
            optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
            decay = min(recipe.ema, (1 + step) / (10 + step))
            for mean, current in zip(
                average.state_dict().values(), model.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(current, 1 - decay)
        smooth = value.item() if step == 0 else smooth + 0.05 * (value.item() - smooth)
        step += 1
        if step % 50 == 0:
            print(f"{elapsed / 60:6.2f} min  step {step:5d}  loss {smooth:.3f}", flush=True)
        if time.monotonic() - saved > recipe.save_every_s:
            save(average, output)
            saved = time.monotonic()
    save(average, output)
    return average


def main() -> None:
    """Build the corpus and train on it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node-modules", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--output", type=Path, default=Path("demo/checkpoint"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    recipe = Recipe()
    corpus = Corpus(arguments.node_modules, STYLES, recipe.canvas)
    print(f"{len(corpus.pixels)} drawings of {len(corpus.emoji)} emoji", flush=True)
    train(corpus, arguments.minutes, arguments.output, recipe)


if __name__ == "__main__":
    main()
