"""What a person changes in an assembled config: found, refused to be undone, kept as an overlay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import EditedConfigError, RepositoryError
from tritonclip_export.repository import findings
from tritonclip_export.repository.assemble import Assembled, assemble
from tritonclip_export.repository.setting import TUNED_PARAMETER, Setting
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import Limits


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def reassemble(bundle: Callable[[str], Bundle], repository: Path) -> Callable[..., Assembled]:
    """Assembles the same bundle into the same folder; options are those of `assemble`."""

    def run(**options: Any) -> Assembled:
        return assemble([bundle("resnet")], repository, **{"runtime": "python", **options})

    run()
    return run


def file(repository: Path, model: str) -> Path:
    return repository / f"resnet_{model}" / "config.pbtxt"


def edit(file: Path, old: str, new: str) -> str:
    """Replace text in a file as a person would; returns what it holds then."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file.read_text()


def overlays(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for model, text in texts.items():
        (folder / f"resnet_{model}.pbtxt").write_text(text)
    return folder


def test_an_edited_config_stays_and_both_remedies_are_named(
    reassemble: Callable[..., Assembled], repository: Path
) -> None:
    edited = edit(file(repository, "text_encoder"), "count: 1", "count: 2")

    with pytest.raises(EditedConfigError) as refused:
        reassemble(limits=Limits(max_image_bytes=1000))

    assert file(repository, "text_encoder").read_text() == edited
    assert "1000" not in file(repository, "image").read_text()
    message = str(refused.value)
    assert (
        f"{file(repository, 'text_encoder')} was edited, and would change in instance_gr" in message
    )
    assert "resnet_image" not in message
    assert "--overlays" in message
    assert "--overwrite" in message


def test_an_edit_is_dropped_when_told_so(
    reassemble: Callable[..., Assembled], repository: Path
) -> None:
    before = file(repository, "text").read_text()
    edit(file(repository, "text"), "enable: true", "enable: false")

    assert reassemble(overwrite=True).written == ("resnet_text",)

    assert file(repository, "text").read_text() == before
    assert reassemble().written == ()


def test_an_overlay_that_says_what_was_edited_is_taken_without_further_words(
    reassemble: Callable[..., Assembled], repository: Path, tmp_path: Path
) -> None:
    folder = overlays(
        tmp_path / "overlays", text_encoder="instance_group { kind: KIND_CPU count: 2 }"
    )
    edit(file(repository, "text_encoder"), "count: 1", "count: 2")

    done = reassemble(overlays=folder)

    assert done.overlaid == done.written == ("resnet_text_encoder",)
    assert reassemble(overlays=folder).written == ()


def test_a_config_without_a_hash_is_not_replaced_unasked_where_it_would_change(
    reassemble: Callable[..., Assembled], repository: Path
) -> None:
    """As in repositories that were assembled before there were hashes."""
    for config in repository.glob("*/config.pbtxt"):
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if "SHA-256" not in line))

    with pytest.raises(EditedConfigError, match=r"image/config\.pbtxt is of an older version"):
        reassemble(limits=Limits(max_image_bytes=1000))
    assert len(reassemble().written) == 8
    assert "resnet_image" in reassemble(limits=Limits(max_image_bytes=1000)).written


def test_what_tune_writes_is_no_edit_and_does_not_hide_one(
    reassemble: Callable[..., Assembled], repository: Path
) -> None:
    models = findings.tower_models("resnet", "text")
    findings.write(repository, models, Setting(3, 0, 0, (), 1), {"gain": 0.1})
    assert reassemble().tuned == ("resnet_text_encoder",)

    edit(file(repository, "text_encoder"), "TYPE_FP32", "TYPE_FP16")
    findings.write(repository, models, Setting(4, 0, 0, (), 1), {"gain": 0.1})
    with pytest.raises(EditedConfigError, match="would change in output\n"):
        reassemble()

    assert reassemble(overwrite=True).tuned == ()
    assert TUNED_PARAMETER not in read_config(file(repository, "text_encoder")).parameters


OVERLAY = """
# Our texts come one at a time.
dynamic_batching { max_queue_delay_microseconds: 700 }
instance_group { kind: KIND_CPU count: 2 }
parameters { key: "intra_op_threads" value { string_value: "3" } }
"""


def test_an_overlay_is_merged_lists_are_replaced_and_it_is_recorded(
    reassemble: Callable[..., Assembled], repository: Path, tmp_path: Path
) -> None:
    before, ensemble = (read_config(file(repository, m)) for m in ("text_encoder", "text"))
    folder = overlays(
        tmp_path / "overlays", text_encoder=OVERLAY, text="response_cache { enable: false }"
    )
    (folder / "README.md").write_text("why")

    done = reassemble(overlays=folder)

    assert done.overlaid == done.written == ("resnet_text", "resnet_text_encoder")
    after = read_config(file(repository, "text_encoder"))
    assert [(g.count, g.Kind.Name(g.kind)) for g in after.instance_group] == [(2, "KIND_CPU")]
    assert after.dynamic_batching.max_queue_delay_microseconds == 700
    assert after.parameters["intra_op_threads"].string_value == "3"
    assert after.parameters["padding"] == before.parameters["padding"]
    assert len(after.parameters["tritonclip_overlay"].string_value) == 64
    assert after.input == before.input
    assert after.model_warmup == before.model_warmup
    text = read_config(file(repository, "text"))
    assert not text.response_cache.enable
    assert text.ensemble_scheduling == ensemble.ensemble_scheduling


def test_an_overlay_that_is_not_named_again_is_missed(
    reassemble: Callable[..., Assembled], tmp_path: Path
) -> None:
    folder = overlays(
        tmp_path / "overlays", text_encoder=OVERLAY, zero_shot="version_policy { all { } }"
    )
    reassemble(overlays=folder)

    with pytest.raises(EditedConfigError, match=r"overlay resnet_text_encoder\.pbtxt, and --overl"):
        reassemble()

    (folder / "resnet_text_encoder.pbtxt").unlink()
    assert reassemble(overlays=folder).written == ("resnet_text_encoder",)
    assert reassemble(overwrite=True).written == ("resnet_zero_shot",)


def test_an_overlay_wins_over_what_tune_found(
    reassemble: Callable[..., Assembled], repository: Path, tmp_path: Path
) -> None:
    models = findings.tower_models("resnet", "text")
    findings.write(repository, models, Setting(3, 5, 900, (), 1), {"gain": 0.1})

    done = reassemble(overlays=overlays(tmp_path / "o", text_encoder="instance_group { count: 2 }"))

    assert done.tuned == ("resnet_text_encoder",)
    config = read_config(file(repository, "text_encoder"))
    assert [group.count for group in config.instance_group] == [2]
    assert config.dynamic_batching.max_queue_delay_microseconds == 900


@pytest.mark.usefixtures("reassemble")
def test_an_overlay_for_a_bundle_that_is_not_named_waits(
    bundle: Callable[[str], Bundle],
    repository: Path,
    tmp_path: Path,
) -> None:
    folder = overlays(tmp_path / "overlays", text_encoder=OVERLAY)
    assert (
        assemble([bundle("siglip")], repository, runtime="python", overlays=folder).overlaid == ()
    )


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("text_encodr", OVERLAY, r"text_encodr\.pbtxt is of no model: .* resnet_text_encoder,"),
        (
            "text",
            "response_cahce { }",
            r"resnet_text\.pbtxt is not a valid model config: 1:1.*cahce",
        ),
        ("text", 'parameters { key: "tritonclip_dim" }', r"sets tritonclip_dim, by which clients"),
        ("text", 'name: "mine"', r"with the overlays in .*calls it 'mine'"),
        ("text", "max_batch_size: 64", r"with the overlays in .*takes batches of 64, its step"),
        (
            "image_encoder",
            'output { name: "V" dims: 64 }',
            r"image_encoder has no output EMBEDDING",
        ),
    ],
)
def test_a_wrong_overlay_is_refused_and_nothing_changes(
    model: str,
    text: str,
    message: str,
    reassemble: Callable[..., Assembled],
    repository: Path,
    tmp_path: Path,
) -> None:
    before = {path: path.read_bytes() for path in repository.rglob("*.pbtxt")}

    with pytest.raises(RepositoryError, match=message):
        reassemble(overlays=overlays(tmp_path / "overlays", **{model: text}))

    assert {path: path.read_bytes() for path in repository.rglob("*.pbtxt")} == before


def test_a_folder_without_overlays_is_refused(
    reassemble: Callable[..., Assembled], repository: Path
) -> None:
    with pytest.raises(RepositoryError, match=r"holds no overlays: files MODEL\.pbtxt"):
        reassemble(overlays=repository)
