"""Text encoders taught to imitate a CLIP model's own: loaded with its image tower, and exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from agreement import passed_in_many_scripts
from distilled_checkpoints import KINDS, write_distilled_checkpoint
from stand_ins.distilled import write_json
from transformers_checkpoints import write_transformers_checkpoint
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint.distilled.checkpoint import IMAGE_TOWERS
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.checkpoint.open_clip import quick_gelu
from tritonclip_export.errors import CheckpointError, ExportError
from tritonclip_export.export.writing import export
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.samples import opened_images
from tritonclip_export.served.code import text_transform

# The tokenizer's limit, and the one that Sentence Transformers puts below it.
CONTEXT_LENGTHS = {"mclip": 24, "sentence-transformers": 20}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of each kind, their teacher, and `hub`."""
    home = tmp_path_factory.mktemp("distilled")
    for kind in KINDS:
        write_distilled_checkpoint(home, kind)
    return home


@pytest.fixture(scope="module")
def exported(home: Path) -> Callable[[str], tuple[DualEncoder, Bundle]]:
    """The loaded checkpoint of a kind and its bundle, exported once."""
    done: dict[str, tuple[DualEncoder, Bundle]] = {}

    def get(kind: str) -> tuple[DualEncoder, Bundle]:
        if kind not in done:
            checkpoint = load(parse(str(home / kind)), source=home / "hub")
            bundle = export(checkpoint, home / "bundles" / kind, name=kind, max_batch=4)
            done[kind] = checkpoint, bundle
        return done[kind]

    return get


def own_embedding(folder: Path, hub: Path, text: str) -> np.ndarray:
    """As the checkpoint's authors compute it: one text, its own length, nothing of ours."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    if folder.name == "mclip":
        weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
        config = transformers.AutoConfig.from_pretrained(hub / "some" / "xlm-roberta")
        model = transformers.AutoModel.from_config(config).eval()
        model.load_state_dict(
            {k.removeprefix("transformer."): v for k, v in weights.items()}, strict=False
        )
        matrix = weights["LinearTransformation.weight"]
        bias = weights["LinearTransformation.bias"]
    else:
        from safetensors.torch import load_file

        model = transformers.AutoModel.from_pretrained(folder).eval()
        matrix = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"]
        bias = torch.zeros(len(matrix))
    with torch.inference_mode():
        states = model(tokens["input_ids"], tokens["attention_mask"])[0]
        vector = (states.mean(dim=1) @ matrix.T + bias)[0]
    return np.asarray(vector / vector.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_agrees_with_the_checkpoint_in_many_scripts(
    kind: str, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(kind)

    assert passed_in_many_scripts(checkpoint, bundle) == {
        "token ids": True,
        "pixels": True,
        "onnx image": True,
        "onnx text": True,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_embedded_as_by_its_authors_and_images_as_by_its_teacher(
    kind: str, home: Path, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(kind)
    teacher = load(parse(str(home / "teacher")))
    texts = ["Ein Hund läuft", "一只猫", "a"]

    found = checkpoint.embed_texts(texts)

    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, own_embedding(home / kind, home / "hub", text), atol=1e-6)
    images = opened_images()[:2]
    np.testing.assert_array_equal(checkpoint.embed_images(images), teacher.embed_images(images))
    assert bundle.info.similarity == teacher.similarity
    assert bundle.info.dim == teacher.dim


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_masked_and_a_long_text_keeps_its_end(
    kind: str, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(kind)
    ids = checkpoint.token_ids(["a cat"]).astype(np.int32)
    encode = Encoder(bundle.file("text_encoder.onnx"))

    np.testing.assert_allclose(encode(ids[:, :16]), encode(ids), atol=1e-6)
    (cut,) = text_transform(bundle.info.text, bundle.path).encode(["cat " * 500])
    assert len(cut) == bundle.info.text.context_length == CONTEXT_LENGTHS[kind]
    assert cut[-1] == checkpoint.tokenizer.sep_token_id != cut[-2]


def test_the_published_ones_have_image_towers_that_can_be_exported() -> None:
    for tower in IMAGE_TOWERS.values():
        quick_gelu.check(parse(tower))


def test_an_unknown_one_says_how_to_name_its_image_tower(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "swedish"
    shutil.copytree(home / "mclip", folder)
    config = json.loads((folder / "config.json").read_text())
    del config["image_tower"]
    write_json(folder / "config.json", config)

    with pytest.raises(CheckpointError, match='"image_tower": "ViT-B-32-quickgelu:openai"'):
        load(parse(str(folder)), source=home / "hub")


def test_a_published_one_is_known_by_its_name(home: Path, tmp_path: Path) -> None:
    """And all that it lacks is asked for at once, its teacher's files with its own."""
    folder = tmp_path / "M-CLIP" / "LABSE-Vit-L-14"
    write_json(folder / "config.json", {"model_type": "M-CLIP", "modelBase": "some/xlm-roberta"})

    with pytest.raises(CheckpointError) as failure:
        load(parse("hf-hub:M-CLIP/LABSE-Vit-L-14"), source=tmp_path)
    assert "M-CLIP/LABSE-Vit-L-14: pytorch_model.bin or model.safetensors" in str(failure.value)
    assert "M-CLIP/LABSE-Vit-L-14: tokenizer.json or" in str(failure.value)
    assert "some/xlm-roberta: config.json" in str(failure.value)
    assert "timm/vit_large_patch14_clip_224.openai: open_clip_model" in str(failure.value)

    with pytest.raises(CheckpointError, match=r"(?s)ViT-L-14-quickgelu:openai wants files.*timm/"):
        load(parse(str(folder)), source=home / "hub")


def test_what_does_not_go_together_is_refused(home: Path, tmp_path: Path) -> None:
    other = write_transformers_checkpoint(tmp_path / "other", "siglip")
    folder = tmp_path / "mclip"
    shutil.copytree(home / "mclip", folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "image_tower": str(other)})

    with pytest.raises(CheckpointError, match=r"texts in 24 dimensions, .* images in 32"):
        load(parse(str(folder)), source=home / "hub")


def test_other_weights_than_the_format_says_are_refused(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mclip"
    shutil.copytree(home / "mclip", folder)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del weights["LinearTransformation.bias"]
    torch.save(weights, folder / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=r"lack LinearTransformation\.bias"):
        load(parse(str(folder)), source=home / "hub")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "modules.json",
            [{"type": "x.Transformer"}, {"type": "x.Pooling"}],
            "Transformer, Pooling;",
        ),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pools by cls;"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "pools by max, mean;"),
        (
            "2_Dense/config.json",
            {"activation_function": "torch.nn.Tanh"},
            "activation torch.nn.Tanh",
        ),
    ],
)
def test_other_modules_of_sentence_transformers_are_refused(
    file: str, content: object, reason: str, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sentence-transformers"
    shutil.copytree(home / "sentence-transformers", folder)
    write_json(folder / file, content)

    with pytest.raises(CheckpointError, match=reason) as failure:
        load(parse(str(folder)))
    assert "Transformer, Pooling (mean) and Dense are supported" in str(failure.value)


def test_what_sentence_transformers_writes_since_release_6_is_the_same(
    home: Path, tmp_path: Path
) -> None:
    old = home / "sentence-transformers"
    folder = tmp_path / "new"
    shutil.copytree(old, folder)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean"})
    write_json(folder / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.base.modules.dense.Dense"
    write_json(folder / "modules.json", modules)

    before, after = (load(parse(str(path))).embed_texts(["a cat"]) for path in (old, folder))

    np.testing.assert_array_equal(before, after)


def test_a_whole_clip_of_sentence_transformers_has_its_own_image_tower(tmp_path: Path) -> None:
    folder = write_transformers_checkpoint(tmp_path / "clip", "clip")
    write_json(folder / "modules.json", [{"type": "sentence_transformers.models.CLIPModel"}])

    assert load(parse(str(folder))).source.architecture == "clip"


def test_hidden_states_of_the_text_encoder_are_refused(
    exported: Callable[[str], tuple[DualEncoder, Bundle]], tmp_path: Path
) -> None:
    checkpoint, _ = exported("mclip")

    with pytest.raises(ExportError, match="imitates its embeddings only"):
        export(checkpoint, tmp_path / "b", name="b", tokens={"text": -1})
    assert not (tmp_path / "b").exists()
