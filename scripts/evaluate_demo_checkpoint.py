"""Measure a checkpoint on emoji drawings of styles it has never seen; prints JSON.

    python scripts/evaluate_demo_checkpoint.py --node-modules node_modules \
        --checkpoint demo/checkpoint

Zero-shot: every drawing is put in one of all the base emoji names Twemoji draws, each name embedded
as the mean of its prompts. Retrieval: drawings and names (one prompt, `an emoji of {}`) are one to
one; recall@k is the share of queries whose partner is among the k nearest. Pictures are 72x72 PNG
on white, prepared by open_clip's own transform.
"""

import argparse
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from emoji import Drawings, Emoji, on_white, rasterise

STYLES = ("twemoji", "openmoji")
RETRIEVAL_PROMPT = "an emoji of {}"
PROMPTS: list[str] = json.loads(
    (Path(__file__).parents[1] / "demo" / "prompts.json").read_text(encoding="utf-8")
)


class Checkpoint:
    """An open_clip checkpoint folder, with unit-length embeddings of pictures and texts."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.transform = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Image.Image], batch: int = 128) -> Tensor:
        """Unit vectors [pictures, dim]."""
        pixels = torch.stack([self.transform(picture) for picture in pictures])
        return torch.cat(
            [self.model.encode_image(p, normalize=True) for p in torch.split(pixels, batch)]
        )

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], batch: int = 512) -> Tensor:
        """Unit vectors [texts, dim]."""
        tokens = self.tokenizer(list(texts))
        return torch.cat(
            [self.model.encode_text(t, normalize=True) for t in torch.split(tokens, batch)]
        )


def label_embeddings(names: Sequence[str], embed_texts: Callable[[list[str]], Tensor]) -> Tensor:
    """Unit vectors of `names`, each the mean of its prompts' unit vectors."""
    vectors = embed_texts([prompt.format(name) for name in names for prompt in PROMPTS])
    return F.normalize(vectors.view(len(names), len(PROMPTS), -1).mean(dim=1), dim=1)


def as_png(svg: str, size: int = 72) -> Image.Image:
    """The drawing on white, through a PNG file's bytes."""
    buffer = io.BytesIO()
    on_white(rasterise(svg, size)).save(buffer, "PNG")
    return Image.open(io.BytesIO(buffer.getvalue()))


def recall(similarity: Tensor, targets: Tensor, k: int) -> float:
    """Share of rows whose target column is among the k highest, in per cent."""
    hits = (similarity.topk(k, dim=1).indices == targets[:, None]).any(dim=1)
    return round(100 * hits.float().mean().item(), 2)


def evaluate(
    checkpoint: Checkpoint, classes: list[Emoji], drawn: dict[Emoji, str]
) -> dict[str, Any]:
    """Figures of one style; its drawings outside `classes` are left out."""
    column = {emoji: i for i, emoji in enumerate(classes)}
    queries = [emoji for emoji in drawn if emoji in column]
    targets = torch.tensor([column[emoji] for emoji in queries])
    names = [emoji.name for emoji in classes]

    pictures = checkpoint.embed_pictures([as_png(drawn[emoji]) for emoji in queries])
    zero_shot = pictures @ label_embeddings(names, checkpoint.embed_texts).T
    texts = checkpoint.embed_texts([RETRIEVAL_PROMPT.format(emoji.name) for emoji in queries])
    paired = pictures @ texts.T
    partners = torch.arange(len(queries))
    groups = [emoji.group for emoji in queries]
    of_group = {g: torch.tensor([g == group for group in groups]) for g in dict.fromkeys(groups)}
    return {
        "pictures": len(queries),
        "classes": len(classes),
        "zero_shot_top1": recall(zero_shot, targets, 1),
        "zero_shot_top5": recall(zero_shot, targets, 5),
        "zero_shot_top1_by_group": {
            group: recall(zero_shot[rows], targets[rows], 1) for group, rows in of_group.items()
        },
        "text_to_image_recall1": recall(paired.T, partners, 1),
        "text_to_image_recall5": recall(paired.T, partners, 5),
        "image_to_text_recall1": recall(paired, partners, 1),
        "image_to_text_recall5": recall(paired, partners, 5),
    }


def main() -> None:
    """Evaluate on every held-out style."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node-modules", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=Path("demo/checkpoint"))
    arguments = parser.parse_args()
    checkpoint = Checkpoint(arguments.checkpoint)
    drawings = Drawings(arguments.node_modules)
    classes = list(drawings.of_style("twemoji"))
    figures = {s: evaluate(checkpoint, classes, drawings.of_style(s)) for s in STYLES}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
