"""Families of checkpoints: one short declaration each.

The first family whose pattern matches the beginning of an architecture's name has it. Licences are
those of the published weights, as their authors state them; where they are not known to us, none is
given. They are for orientation: read the model card.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIT = "MIT"
APACHE = "Apache-2.0"
NON_COMMERCIAL = "CC-BY-NC-4.0"
APPLE_RESEARCH = "Apple AMLR (research)"
APPLE_SAMPLE_CODE = "Apple Sample Code"


@dataclass(frozen=True)
class Family:
    """What checkpoints of one kind have in common."""

    name: str
    pattern: str
    licence: str | None = None
    """Of all its weights; None where it depends on the tag."""
    note: str = ""


FAMILIES = (
    Family("CLIP (transformers)", r"hf-hub:openai/clip", MIT, "CLIPModel and its fine-tunes"),
    Family("SigLIP 2 (transformers)", r"hf-hub:google/siglip2", APACHE, "of fixed resolution"),
    Family("SigLIP (transformers)", r"hf-hub:google/siglip", APACHE, "sigmoid"),
    Family("Chinese-CLIP", r"hf-hub:OFA-Sys/", note="Chinese"),
    Family("AltCLIP", r"hf-hub:BAAI/AltCLIP", "CreativeML OpenRAIL-M", "Chinese and English"),
    Family("M-CLIP", r"hf-hub:M-CLIP/", note="multilingual; text encoders that imitate CLIP's"),
    Family("Sentence Transformers", r"hf-hub:sentence-transf", APACHE, "multilingual; as M-CLIP"),
    Family(
        "SigLIP 2",
        r"ViT-.*SigLIP2",
        APACHE,
        "sigmoid; texts lower-cased without punctuation, padding attended to",
    ),
    Family("NLLB-CLIP", r"nllb-clip", NON_COMMERCIAL, "201 languages; --language names one"),
    Family("SigLIP", r"ViT-.*SigLIP", APACHE, "sigmoid; padding attended to"),
    Family("MetaCLIP 2", r"ViT-.*worldwide", NON_COMMERCIAL, "multilingual"),
    Family("CLIPA", r"ViT-.*CLIPA", APACHE, "32 tokens, BERT's vocabulary"),
    Family("EVA-01-CLIP", r"EVA01", MIT),
    Family("EVA-02-CLIP", r"EVA02", MIT),
    Family("MobileCLIP 2", r"MobileCLIP2", APPLE_RESEARCH),
    Family("MobileCLIP", r"MobileCLIP", APPLE_RESEARCH),
    Family("PE-Core", r"PE-Core", APACHE),
    Family("ViTamin", r"ViTamin", MIT),
    Family("CoCa", r"coca", note="its contrastive towers"),
    Family("ConvNeXt", r"convnext"),
    Family("XLM-R text tower", r"xlm-roberta", note="multilingual"),
    Family("RoBERTa text tower", r"roberta"),
    Family("mT5 text tower", r"mt5", note="multilingual; no published weights"),
    Family("CLIP ResNet", r"RN\d"),
    Family("CLIP ViT", r"ViT-"),
    Family("timm image tower", r"swin|vit_", note="no published weights"),
)

# Pretrained tag -> licence, for families whose weights come from several hands.
TAG_LICENCES = (
    (r"openai", MIT),
    (r"metaclip", NON_COMMERCIAL),
    (r"dfn", APPLE_SAMPLE_CODE),
    (r"(frozen_|mscoco_finetuned_)?(laion|datacomp|commonpool)", MIT),
    (r"yfcc15m|cc12m", MIT),
)


def family_of(architecture: str) -> Family:
    """The family of an entry of the catalogue."""
    return next(
        (family for family in FAMILIES if re.match(family.pattern, architecture)),
        Family("other", ""),
    )


def licence_of(architecture: str, tag: str) -> str | None:
    """The licence of the weights of a pretrained tag, where it is known."""
    if licence := family_of(architecture).licence:
        return licence
    return next((licence for pattern, licence in TAG_LICENCES if re.match(pattern, tag)), None)
