"""One small checkpoint of each family: the parts of the real ones, in sizes for a test."""

from __future__ import annotations

from typing import Any

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


def _open_clip(vision: dict[str, Any], **model: Any) -> dict[str, Any]:
    text = _TEXT | model.pop("text_cfg", {})
    return {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, **model}}


def _timm(name: str, image_size: int, pool: str, proj: str | None, **model: Any) -> dict[str, Any]:
    vision = {
        "image_size": image_size,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": proj,
    }
    return _open_clip(vision, custom_text=True, **model)


_VIT = {"image_size": 64, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}

# Family -> open_clip's configuration. SigLIP's and OpenAI's ResNet are in checkpoints.py.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": _open_clip(_VIT),
    "vit-quickgelu": _open_clip(_VIT, quick_gelu=True),
    "eva02": _timm("eva02_tiny_patch14_224", 224, "token", None, embed_dim=192),
    "convnext": _timm("convnext_atto", 64, "", "linear"),
    "convnext-rms": _timm("convnext_atto_rms", 64, "", "linear"),
    "convnextv2": _timm("convnextv2_atto", 64, "", "linear"),
    "mobileclip": _timm("fastvit_mci0", 64, "avg", None, text_cfg={"no_causal_mask": True}),
    "vitamin": _timm("vitamin_small_224", 224, "", "linear"),
    "coca": _open_clip(
        _VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        custom_text=True,
        text_cfg={"context_length": 76, "embed_cls": True, "output_tokens": True},
        multimodal_cfg=_TEXT | {"context_length": 76, "attn_pooler_heads": 2},
    ),
    "pe": _timm("vit_pe_core_tiny_patch16_384", 384, "map", None, text_cfg={"context_length": 32}),
}
