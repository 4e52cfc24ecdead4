"""Checkpoints of Hugging Face transformers: loaded, refused, and exported in every family."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from agreement import passed_in_many_scripts
from transformers_checkpoints import FAMILIES, write_transformers_checkpoint
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.errors import CheckpointError, ExportError
from tritonclip_export.export.token_outputs import Layers
from tritonclip_export.export.writing import export
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.samples import opened_images, sample_images
from tritonclip_export.served.code import text_transform

# SigLIP 2's export is SigLIP's, MetaCLIP 2's CLIP's, and AltCLIP's text tower masks its padding as
# Chinese-CLIP's does.
LIKE_OTHERS = ("siglip", "metaclip_2", "altclip")
EACH = [f if f not in LIKE_OTHERS else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES]
# SigLIP's layers are found as CLIP's are, and exporting them takes as long as the rest of a bundle.
WITH_TOKENS = ("clip", pytest.param("siglip", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a family, written once."""
    home = tmp_path_factory.mktemp("transformers")

    def get(family: str) -> Path:
        if not (home / family).exists():
            write_transformers_checkpoint(home / family, family)
        return home / family

    return get


@pytest.fixture(scope="module")
def exported(
    folder: Callable[[str], Path],
    dual_encoder: Callable[[str], DualEncoder],
    bundle: Callable[[str], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[DualEncoder, Bundle]]:
    """A family's loaded checkpoint and its bundle, exported once; CLIP's with tokens."""
    home = tmp_path_factory.mktemp("bundles")

    @functools.cache
    def get(family: str, *, with_tokens: bool = False) -> tuple[DualEncoder, Bundle]:
        if family == "chinese_clip":  # others' tests have it, too
            return dual_encoder(family), bundle(family)
        checkpoint = load(parse(str(folder(family))))
        tokens: Layers = {"image": -2, "text": -1} if with_tokens or family == "clip" else {}
        made = export(checkpoint, home / family, name=family, max_batch=4, tokens=tokens)
        return checkpoint, made

    return get


def changed(folder: Path, copy: Path, file: str, **changes: object) -> Path:
    """A copy of a checkpoint with another value or two in one of its JSON files."""
    shutil.copytree(folder, copy)
    values = json.loads((copy / file).read_text())
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        (values[section] if section else values)[key] = value
    (copy / file).write_text(json.dumps(values))
    return copy


@pytest.mark.parametrize("family", EACH)
def test_a_bundle_agrees_with_transformers_in_many_scripts(
    family: str, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(family)

    assert passed_in_many_scripts(checkpoint, bundle) == {
        "token ids": True,
        "pixels": True,
        "onnx image": True,
        "onnx text": True,
    }


@pytest.mark.parametrize("family", EACH)
def test_padding_changes_an_embedding_only_where_the_tower_attends_to_it(
    family: str, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(family)
    length = bundle.info.text.context_length
    assert bundle.info.text.dynamic_length == ("siglip" not in family)
    ids = checkpoint.token_ids(["a cat"]).astype(np.int32)
    other = np.where(ids == bundle.info.text.pad_id, 5, ids).astype(np.int32)
    encode = Encoder(bundle.file("text_encoder.onnx"))

    if bundle.info.text.dynamic_length:
        for shorter in (8, 13):
            np.testing.assert_allclose(encode(ids[:, :shorter]), encode(ids), atol=1e-6)
    else:
        assert ids.shape[1] == length
        assert np.abs(encode(other) - encode(ids)).max() > 1e-4


@pytest.mark.parametrize("family", EACH)
def test_a_text_beyond_the_context_keeps_its_end_token(
    family: str, exported: Callable[[str], tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(family)

    tokenizer = checkpoint.tokenizer
    end = tokenizer.sep_token_id if family == "chinese_clip" else tokenizer.eos_token_id

    (ids,) = text_transform(bundle.info.text, bundle.path).encode(["cat " * 500])

    assert len(ids) == bundle.info.text.context_length
    assert ids[-1] == end != ids[-2]


def test_what_a_checkpoint_says_of_itself(folder: Callable[[str], Path], tmp_path: Path) -> None:
    clip, siglip, metaclip = (
        load(parse(str(folder(family)))) for family in ("clip", "siglip", "metaclip_2")
    )
    assert (clip.source.library, clip.source.weights) == ("transformers", "default")
    assert (clip.dim, clip.similarity.kind) == (24, "softmax")
    assert (siglip.dim, siglip.similarity.kind) == (32, "sigmoid")
    assert clip.image.rules == "transformers"
    assert metaclip.image.short_side == 55
    text = siglip.served_tokenizer().write(tmp_path, dynamic_length=siglip.dynamic_length)
    assert text.cleaning == ("siglip",)


@pytest.mark.parametrize("family", WITH_TOKENS)
def test_patch_tokens_and_hidden_states_are_those_of_transformers(
    family: str, exported: Callable[..., tuple[DualEncoder, Bundle]]
) -> None:
    checkpoint, bundle = exported(family, with_tokens=family != "clip")
    images = opened_images()[:2]
    pixels = np.stack([checkpoint.pixels(image) for image in images])
    ids = checkpoint.token_ids(["a cat", "two dogs"])
    with torch.inference_mode():
        vision = checkpoint.model.vision_model(
            torch.from_numpy(np.stack(checkpoint.processor(images)["pixel_values"])),
            output_hidden_states=True,
        )
        text = checkpoint.model.text_model(torch.from_numpy(ids))
    found = {
        tokens.tower: Encoder(bundle.file(tokens.file))(batch)
        for tokens, batch in zip(bundle.info.tokens, (pixels, ids.astype(np.int32)), strict=True)
    }

    patches = vision.hidden_states[-2][:, -9:].numpy()
    np.testing.assert_allclose(found["image"], patches, atol=1e-4)
    np.testing.assert_allclose(found["text"], text.last_hidden_state.numpy(), atol=1e-4)


def test_hidden_states_are_refused_where_padding_is_masked(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="CLIP's and SigLIP's"):
        export(
            load(parse(str(folder("chinese_clip")))), tmp_path / "b", name="b", tokens={"text": -1}
        )


@pytest.mark.slow
def test_the_activation_of_the_config_is_the_one_exported(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    quick = load(parse(str(folder("clip"))))
    other = load(
        parse(
            str(
                changed(
                    folder("clip"),
                    tmp_path / "gelu",
                    "config.json",
                    vision_config__hidden_act="gelu",
                    text_config__hidden_act="gelu",
                )
            )
        )
    )
    bundle = export(other, tmp_path / "bundle", name="gelu", max_batch=2)
    inputs = Inputs.read(sample_images()[:2], ["a cat", "a dog"])
    ours, theirs, quicks = (
        onnx_embeddings(bundle, Batches.of(bundle, inputs)),
        reference_embeddings(other, inputs),
        reference_embeddings(quick, inputs),
    )

    np.testing.assert_allclose(ours.texts, theirs.texts, atol=1e-5)
    assert np.abs(ours.texts - quicks.texts).max() > 1e-4
    assert np.abs(ours.images - quicks.images).max() > 1e-4


def test_a_config_with_the_old_end_token_pools_at_the_highest_id(tmp_path: Path) -> None:
    """Which is the end of the text, unless padding has a higher id: then every length counts."""
    old = write_transformers_checkpoint(tmp_path / "old", "clip", eos_token_id=2)
    checkpoint = load(parse(str(old)))
    assert checkpoint.dynamic_length
    bundle = export(checkpoint, tmp_path / "bundle", name="old", max_batch=2)
    assert all(figure.passed for figure in bundle.info.parity)

    tokenizer = json.loads((old / "tokenizer_config.json").read_text())
    tokenizer["pad_token"] = "<|padding|>"
    vocabulary = write_transformers_checkpoint(
        tmp_path / "padded", "clip", eos_token_id=2, vocab_size=1000
    )
    (vocabulary / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert not load(parse(str(vocabulary))).dynamic_length


def test_a_tower_that_looks_for_an_end_token_it_never_gets_is_refused(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """It would pool every text at its first token, which all texts share."""
    copy = changed(folder("clip"), tmp_path / "x", "config.json", text_config__eos_token_id=7)
    with pytest.raises(CheckpointError, match="pools at token 7"):
        load(parse(str(copy)))


def test_a_tokenizer_of_another_vocabulary_is_refused(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = tmp_path / "mixed"
    shutil.copytree(folder("chinese_clip"), copy)
    for file in folder("clip").glob("token*"):
        shutil.copy(file, copy)
    with pytest.raises(CheckpointError, match=r"a vocabulary of 902 .* a vocabulary of 900"):
        load(parse(str(copy)))


@pytest.mark.parametrize(("kind", "reason"), [("siglip2", "NaFlex"), ("bert", "supported are")])
def test_other_models_are_refused_by_their_type(
    kind: str, reason: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = changed(folder("siglip"), tmp_path / "copy", "config.json", model_type=kind)
    with pytest.raises(CheckpointError, match=reason):
        load(parse(str(copy)))


def test_weights_that_are_not_whole_are_refused(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Transformers would fill what is missing with random numbers and a warning."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "half"
    shutil.copytree(folder("clip"), copy)
    weights = load_file(copy / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"text_projection\.weight"):
        load(parse(str(copy)))


class RunsCode:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_weights_that_would_run_code_are_refused(
    folder: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = tmp_path / "evil"
    shutil.copytree(folder("clip"), copy)
    (copy / "model.safetensors").unlink()
    torch.save({"logit_scale": RunsCode(tmp_path / "code-ran")}, copy / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="refused"):
        load(parse(str(copy)))

    assert not (tmp_path / "code-ran").exists()
