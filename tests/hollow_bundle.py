"""A bundle in form only: all that `bundle.json` promises is there, and none of it is a graph."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tritonclip_export.bundle import Artifact, Bundle, BundleInfo, ImageSpec, TextSpec, sha256_of
from tritonclip_export.bundle.contents import Similarity, Source


def hollow_bundle(folder: Path, name: str = "hollow") -> Bundle:
    """Write one; models are called by `name`."""
    folder.mkdir()
    for file in ("image_encoder.onnx", "text_encoder.onnx"):
        (folder / file).write_text("{}")
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    info = BundleInfo(
        name=name,
        exporter_version="0.1.0",
        source=Source(
            library="open_clip",
            library_version="3.3.0",
            reference="no-such-checkpoint",
            architecture="none",
            weights="random",
            weights_sha256="0" * 64,
        ),
        dim=8,
        image=ImageSpec(
            height=8,
            width=8,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            interpolation="bicubic",
            resize_mode="shortest",
            fill=0,
        ),
        text=TextSpec(
            context_length=8,
            tokenizer="tokenizer.json",
            tokenizer_sha256=sha256_of(folder / "tokenizer.json"),
            cleaning=(),
            pad_id=0,
            dynamic_length=False,
        ),
        similarity=Similarity(kind="softmax", logit_scale=100.0),
        artifacts=tuple(
            Artifact(
                tower=tower,
                format="onnx",
                precision="fp32",
                file=f"{tower}_encoder.onnx",
                sha256=sha256_of(folder / f"{tower}_encoder.onnx"),
                max_batch=8,
                built_with={},
            )
            for tower in ("image", "text")
        ),
    )
    bundle = Bundle(path=folder, info=info)
    bundle.save()
    return bundle
