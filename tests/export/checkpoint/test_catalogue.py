"""The catalogue: complete, quick, and in step with open_clip."""

import json
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest

from tritonclip_export.checkpoint import catalogue
from tritonclip_export.checkpoint.distilled import checkpoint
from tritonclip_export.checkpoint.families import FAMILIES
from tritonclip_export.checkpoint.loading import parse
from tritonclip_export.checkpoint.open_clip import quick_gelu

TRITONCLIP = Path(sys.executable).with_name("tritonclip")


def test_it_is_open_clips_whole_list() -> None:
    """A newer open_clip calls for `scripts/write_catalogue.py`."""
    if catalogue.open_clip_version() != open_clip.__version__:
        pytest.skip("the installed open_clip is another release")
    entries = {e.architecture: e for e in catalogue.search() if not e.is_on_hub}

    assert list(entries) == open_clip.list_models()
    for name, entry in entries.items():
        config = open_clip.get_model_config(name)
        assert [tag.name for tag in entry.tags] == quick_gelu.tags(name)
        assert entry.dim == config["embed_dim"]


def test_sizes_are_those_of_the_towers() -> None:
    (entry,) = [entry for entry in catalogue.search(["RN50"]) if entry.architecture == "RN50"]
    model = open_clip.create_model("RN50")
    image = sum(parameter.numel() for parameter in model.visual.parameters())
    scale = 1

    assert entry.image_parameters == image
    assert entry.text_parameters == sum(p.numel() for p in model.parameters()) - image - scale


def test_checkpoints_of_others_have_their_published_sizes() -> None:
    """In millions, as the README of OFA-Sys/Chinese-CLIP and google's model cards say."""
    sizes = {
        entry.architecture.rpartition("/")[2]: (
            round(entry.image_parameters / 1e6),
            round(entry.text_parameters / 1e6),
        )
        for entry in catalogue.search()
        if entry.is_on_hub
    }
    assert sizes["chinese-clip-vit-base-patch16"] == (86, 102)
    assert sizes["chinese-clip-vit-large-patch14"] == (304, 102)
    assert sizes["chinese-clip-vit-huge-patch14"] == (632, 326)
    assert sum(sizes["siglip-base-patch16-224"]) == 203
    teachers = {
        name: open_clip.get_model_config(tower.partition(":")[0])["embed_dim"]
        for name, tower in checkpoint.IMAGE_TOWERS.items()
    }
    dims = {entry.architecture.rpartition("/")[2]: entry.dim for entry in catalogue.search()}
    assert {name: dims[name] for name in teachers} == teachers


def test_every_architecture_has_a_family_and_every_family_an_architecture() -> None:
    entries = catalogue.search()
    assert {entry.family for entry in entries} == {family.name for family in FAMILIES}
    families = {entry.architecture: entry.family for entry in entries}
    assert families["ViT-B-16-SigLIP-i18n-256"] == "SigLIP"
    assert families["nllb-clip-base-siglip"] == "NLLB-CLIP"
    assert families["coca_roberta-ViT-B-32"] == "CoCa"
    assert families["ViT-H-14-CLIPA-336"] == "CLIPA"
    assert families["ViTamin-L"] == "ViTamin"


def test_weights_have_the_licence_of_their_authors() -> None:
    (entry,) = catalogue.search(["ViT-B-16-quickgelu"])
    assert {tag.name: tag.licence for tag in entry.tags} == {
        "openai": "MIT",
        "dfn2b": "Apple Sample Code",
        "metaclip_400m": "CC-BY-NC-4.0",
        "metaclip_fullcc": "CC-BY-NC-4.0",
    }
    # Their model cards state none.
    unknown = {e.family for e in catalogue.search() for tag in e.tags if not tag.licence}
    assert unknown == {"Chinese-CLIP", "M-CLIP"}


def test_checkpoints_of_others_are_named_as_export_takes_them() -> None:
    (entry,) = catalogue.search(["altclip"])

    assert parse(entry.architecture).name == "BAAI/AltCLIP"
    assert [tag.licence for tag in entry.tags] == ["CreativeML OpenRAIL-M"]


def test_words_filter_and_answers_come_quickly() -> None:
    began = time.monotonic()
    answer = subprocess.run(
        [TRITONCLIP, "models", "siglip2", "384", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began

    found = json.loads(answer.stdout)
    assert {entry["family"] for entry in found} == {"SigLIP 2"}
    assert all("384" in entry["architecture"] for entry in found)
    assert found[0]["tags"] == [{"name": "webli", "licence": "Apache-2.0"}]
    assert seconds < 5, "it must not import torch"
