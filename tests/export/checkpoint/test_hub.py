"""Files that live on a hub: what is asked for, and checkpoints made of a folder of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from transformers.models.m2m_100 import modeling_m2m_100 as m2m_100
from transformers.models.mt5 import modeling_mt5 as mt5

from hub_folder import TEXT_TOWERS, write_model_with, write_text_tower, write_weights
from stand_ins.vocabularies import CORPUS
from transformers_checkpoints import write_transformers_checkpoint
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.checkpoint.open_clip import files
from tritonclip_export.errors import CheckpointError
from tritonclip_export.export.writing import export
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import compare_inputs, compare_pairs, reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.samples import sample_images

COMMIT = 40 * "a"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with `HF_HUB_OFFLINE=1`, which is read when the library is imported, and no cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("source", [None, "empty"])
def test_everything_that_is_missing_is_named_at_once(source: str | None, tmp_path: Path) -> None:
    folder = None if source is None else tmp_path / source
    with pytest.raises(CheckpointError) as failure:
        load(parse("roberta-ViT-B-32:laion2b_s12b_b32k"), source=folder)

    message = str(failure.value)
    assert ("HF_HUB_OFFLINE" if source is None else "empty") in message
    weights = "laion/CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k"
    assert f"{weights}: open_clip_model.safetensors or" in message
    assert "roberta-base: config.json (text tower's configuration)" in message
    assert "roberta-base: tokenizer.json or" in message
    assert f"--local-dir FOLDER/{weights}" in message
    assert "--from" in message


def test_a_repository_on_the_hub_is_asked_for_its_configuration() -> None:
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json or config\.json"):
        load(parse("hf-hub:somebody/something"))


def test_every_architecture_says_what_it_wants(tmp_path: Path) -> None:
    """And is content when it is there, in a folder by repository or flat."""
    wanting = 0
    for name in open_clip.list_models():
        text = open_clip.get_model_config(name)["text_cfg"]
        repositories = {text.get("hf_model_name"), text.get("hf_tokenizer_name")} - {None}
        if not repositories:
            assert files.find(parse(name), None, tmp_path).tokenizer is None
            continue
        wanting += 1
        with pytest.raises(CheckpointError, match=next(iter(repositories))):
            files.find(parse(name), None, tmp_path)
        for layout in ("by repository", "flat"):
            folder = tmp_path / name / layout
            for repository in repositories:
                home = folder if layout == "flat" else folder / repository
                home.mkdir(parents=True, exist_ok=True)
                (home / "config.json").touch()
                (home / "tokenizer.json").touch()
            found = files.find(parse(name), None, folder)
            home = folder if layout == "flat" else folder / text["hf_tokenizer_name"]
            assert found.tokenizer == home
    assert wanting > 40


# One that is exported from a folder as well, with its full length, is below.
@pytest.mark.slow
@pytest.mark.parametrize("model_type", TEXT_TOWERS)
def test_a_text_tower_of_transformers_in_open_clip_is_exported_from_a_folder(
    model_type: str, tmp_path: Path
) -> None:
    write_text_tower(tmp_path / "hub" / "some" / model_type, model_type)
    model = write_model_with(tmp_path / model_type, f"some/{model_type}")
    write_weights(model, tmp_path / "hub")
    with pytest.raises(CheckpointError, match=f"some/{model_type}: config.json"):
        load(parse(str(model)))

    checkpoint = load(parse(str(model)), source=tmp_path / "hub")
    bundle = export(checkpoint, tmp_path / "bundle", name="b", max_batch=2)

    assert bundle.info.text.dynamic_length
    inputs = Inputs(tuple(f.read_bytes() for f in sample_images()[:3]), tuple(CORPUS))
    figures = compare_inputs(checkpoint, bundle.path, bundle.info.text, inputs)
    figures += compare_pairs(
        "onnx",
        reference_embeddings(checkpoint, inputs),
        onnx_embeddings(bundle, Batches.of(bundle, inputs)),
    )
    assert [figure.passed for figure in figures] == [True] * 4, figures


@pytest.mark.parametrize(
    ("model_type", "of_decoders"),
    [("mt5", mt5.MT5LayerCrossAttention), ("m2m_100", m2m_100.M2M100DecoderLayer)],
)
def test_the_decoder_of_a_text_tower_is_not_built(
    model_type: str, of_decoders: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_text_tower(tmp_path / "some" / model_type, model_type)
    folder = write_model_with(tmp_path / model_type, f"some/{model_type}")
    write_weights(folder, tmp_path)
    text = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    whole, _, _ = open_clip.create_model_and_transforms(
        f"local-dir:{folder}",
        text_cfg={**text, "hf_model_name": str(home), "hf_model_pretrained": False},
        pretrained_text=False,
    )

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("part of a decoder")

    monkeypatch.setattr(of_decoders, "__init__", fail)
    checkpoint = load(parse(str(folder)), source=tmp_path)

    ids = torch.from_numpy(checkpoint.token_ids(["a cat"]))
    with torch.inference_mode():
        (expected,) = whole.eval().encode_text(ids, normalize=True).numpy()
    np.testing.assert_allclose(checkpoint.embed_texts(["a cat"])[0], expected, atol=1e-6)


@pytest.fixture
def attends_to_padding(tmp_path: Path) -> DualEncoder:
    """A tower that masks another id than its tokenizer pads with."""
    home = write_text_tower(tmp_path / "some" / "roberta", "roberta")
    config = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps({**config, "pad_token_id": 5}))
    model = write_model_with(tmp_path / "model", "some/roberta", context_length=20)
    write_weights(model, tmp_path)

    return load(parse(str(model)), source=tmp_path)


def test_a_tower_that_does_not_know_its_padding_gets_its_full_length(
    attends_to_padding: DualEncoder,
) -> None:
    assert not attends_to_padding.dynamic_length
    assert attends_to_padding.token_ids(["a cat"]).shape == (1, 20)


@pytest.mark.slow
def test_a_tower_that_does_not_know_its_padding_is_exported(
    attends_to_padding: DualEncoder, tmp_path: Path
) -> None:
    bundle = export(attends_to_padding, tmp_path / "bundle", name="b", max_batch=2)

    assert not bundle.info.text.dynamic_length
    assert all(figure.passed for figure in bundle.info.parity)


def test_a_language_changes_the_embedding_and_is_remembered(tmp_path: Path) -> None:
    write_text_tower(tmp_path / "some" / "nllb", "m2m_100")
    model = write_model_with(tmp_path / "model", "some/nllb")
    write_weights(model, tmp_path)
    english, german = (
        load(parse(str(model)), source=tmp_path, language=language)
        for language in ("eng_Latn", "deu_Latn")
    )

    assert german.source.language == "deu_Latn"
    assert english.token_ids(["Hund"])[0, 0] != german.token_ids(["Hund"])[0, 0]
    assert np.abs(english.embed_texts(["Hund"]) - german.embed_texts(["Hund"])).max() > 1e-4
    with pytest.raises(CheckpointError, match="deu_Latn"):
        load(parse(str(model)), source=tmp_path, language="deu")


def test_a_repository_is_taken_from_a_folder_whole(tmp_path: Path) -> None:
    write_transformers_checkpoint(tmp_path / "some" / "clip", "clip")
    write_text_tower(tmp_path / "some" / "roberta", "roberta")
    write_weights(write_model_with(tmp_path / "some" / "open", "some/roberta"), tmp_path)

    for name, library in (("clip", "transformers"), ("open", "open_clip")):
        reference = parse(f"hf-hub:some/{name}")
        loaded = load(reference, source=tmp_path)
        assert (loaded.source.library, loaded.source.reference) == (library, reference.text)
        assert reference.default_name == name
        (weights,) = (tmp_path / "some" / name).glob("*.safetensors")
        weights.unlink()
        with pytest.raises(CheckpointError, match=f"some/{name}: {weights.name}"):
            load(reference, source=tmp_path)


@pytest.mark.parametrize("from_cache", [False, True])
def test_a_clip_model_of_sentence_transformers_is_that_of_transformers_in_it(
    from_cache: bool, tmp_path: Path
) -> None:
    """In shards, which are named beside their index, not in the repository's folder."""
    home = tmp_path / "some" / "st"
    if from_cache:
        cache = tmp_path / "cache" / "models--some--st"
        home = cache / "snapshots" / COMMIT
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / "main").write_text(COMMIT)
    clip = write_transformers_checkpoint(home / "0_CLIPModel", "clip")
    model = transformers.CLIPModel.from_pretrained(clip)
    (clip / "model.safetensors").unlink()
    model.save_pretrained(clip, max_shard_size="50KB")
    (home / "modules.json").write_text('[{"type": "models.CLIPModel", "path": "0_CLIPModel"}]')
    shards = sorted(clip.glob("*.safetensors"))
    assert len(shards) > 1
    expected = load(parse(str(clip))).embed_texts(["a cat"])

    for text in (str(home), "hf-hub:some/st"):
        reference = parse(text)
        loaded = load(reference, source=None if from_cache else tmp_path)
        assert loaded.source.architecture == reference.title
        assert "0_CLIPModel" not in reference.title
        np.testing.assert_array_equal(loaded.embed_texts(["a cat"]), expected)
    shards[0].unlink()
    with pytest.raises(CheckpointError, match=f"0_CLIPModel.*{shards[0].name}"):
        load(parse("hf-hub:some/st"), source=None if from_cache else tmp_path)


def test_open_clips_format_is_preferred(tmp_path: Path) -> None:
    write_text_tower(tmp_path / "some" / "roberta", "roberta")
    write_weights(write_model_with(tmp_path / "both", "some/roberta"), tmp_path)
    clip = write_transformers_checkpoint(tmp_path / "clip", "clip")
    for file in clip.iterdir():
        if not (tmp_path / "both" / file.name).exists() and "token" not in file.name:
            shutil.copy(file, tmp_path / "both")

    assert load(parse(str(tmp_path / "both")), source=tmp_path).source.library == "open_clip"


@pytest.mark.parametrize(
    ("architecture", "mean", "resize_mode"),
    [
        ("ViT-B-16-SigLIP", 0.5, "squash"),
        ("MobileCLIP-S1", 0.0, "shortest"),
        ("ViT-L-14", None, None),  # its tags disagree
    ],
)
def test_random_weights_and_files_get_the_preprocessing_of_the_tags(
    architecture: str, mean: float | None, resize_mode: str | None
) -> None:
    known = files.preprocessing(parse(architecture))
    assert known.get("image_mean", (None,))[0] == mean
    assert known.get("image_resize_mode") == resize_mode
