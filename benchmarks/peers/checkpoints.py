"""ViT-B/32 with random weights, in the forms in which peers take a checkpoint.

The speed of a dense network does not depend on its weights, so each peer gets random ones of the
same architecture; what they answer is not compared.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def hugging_face(folder: Path, bundle: Path) -> None:
    """A CLIP checkpoint of transformers, with the tokenizer of `bundle`; kept if it is there."""
    if (folder / "complete").is_file():
        return
    import torch
    import transformers

    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    model = transformers.CLIPModel(transformers.CLIPConfig())  # the defaults are ViT-B/32
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bundle / "tokenizer.json"),
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)
    (folder / "complete").touch()
