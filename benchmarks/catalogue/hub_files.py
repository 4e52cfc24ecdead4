"""What the catalogue wants from a hub, made here: configurations and stand-ins for tokenizers.

Text towers get their published sizes. Vocabularies are small ones of the same kind, trained on
sentences in many scripts: a conversion that is exact for one is exact for the other.
"""

from __future__ import annotations

from pathlib import Path

from text_configs import write_text_configs
from vocabularies import write_vocabulary

# The first pattern that is part of a repository's name.
KINDS = (
    ("SigLIP2", "gemma"),
    ("SigLIP", "mt5"),  # T5's unigram SentencePiece, English or multilingual
    ("mt5", "mt5"),
    ("nllb", "nllb"),
    ("xlm", "xlm_roberta"),
    ("roberta", "roberta"),
    ("bert", "bert"),
)


def write(folder: Path) -> Path:
    """Write everything to FOLDER/ORG/NAME, as `export --from FOLDER` reads it."""
    import open_clip

    write_text_configs(folder)
    texts = [open_clip.get_model_config(name)["text_cfg"] for name in open_clip.list_models()]
    for repository in sorted({text.get("hf_tokenizer_name", "") for text in texts} - {""}):
        kind = next(kind for part, kind in KINDS if part in repository)
        write_vocabulary(kind, folder / repository)
    return folder
