"""References and loading: what is refused, and what the refusal says."""

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.checkpoint.open_clip import quick_gelu
from tritonclip_export.errors import CheckpointError


class RunsCode:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("reference", "nearest"),
    [
        ("ViT-B32", "ViT-B-32"),
        ("vit-b-32", "ViT-B-32"),
        ("ViT-B-32:laion2b", "laion2b_e16"),
        ("ViT-B-16-SigLIP3", "ViT-B-16-SigLIP"),
        ("./no/such/folder", "models"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(reference: str, nearest: str) -> None:
    with pytest.raises(CheckpointError, match=nearest):
        parse(reference)


def test_a_wrong_name_is_told_before_pytorch_is_imported() -> None:
    code = """
import sys
from tritonclip_cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 1
assert not {"torch", "open_clip"} & sys.modules.keys()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "./nosuch"], capture_output=True, text=True
    )

    assert "no architecture or folder is called './nosuch'" in done.stderr
    assert done.returncode == 0


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json"):
        parse(str(tmp_path))


def test_a_folder_that_is_no_checkpoint_does_not_hide_an_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of it, in the folder where one works, has its name."""
    (tmp_path / "ViT-B-32").mkdir()
    monkeypatch.chdir(tmp_path)

    assert parse("ViT-B-32").kind == "architecture"
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        parse("local-dir:ViT-B-32")


def test_names_follow_from_references(checkpoint_folder: Callable[[str], Path]) -> None:
    assert parse("ViT-B/32:openai").default_name == "ViT-B-32-openai"
    assert parse("hf-hub:timm/ViT-B-16-SigLIP2").default_name == "ViT-B-16-SigLIP2"
    assert parse(str(checkpoint_folder("resnet"))).default_name == "resnet"


def test_an_architecture_without_weights_asks_for_them() -> None:
    with pytest.raises(CheckpointError, match="laion2b_s34b_b79k"):
        load(parse("ViT-B-32"))


def test_weights_that_would_run_code_are_refused(
    tmp_path: Path, checkpoint_folder: Callable[[str], Path]
) -> None:
    folder = tmp_path / "evil"
    shutil.copytree(checkpoint_folder("resnet"), folder)
    (folder / "open_clip_model.safetensors").unlink()
    proof = tmp_path / "code-ran"
    torch.save({"state_dict": RunsCode(proof)}, folder / "open_clip_pytorch_model.bin")

    with pytest.raises(CheckpointError, match="refused"):
        load(parse(str(folder)))

    assert not proof.exists()
    pickle.loads(pickle.dumps(RunsCode(proof)))
    assert proof.exists(), "the pickle is harmless, so this test proves nothing"


Bomb = Callable[[Path, RunsCode], None]


def as_zip(file: Path, bomb: RunsCode) -> None:
    torch.save({"state_dict": bomb}, file)


def as_legacy(file: Path, bomb: RunsCode) -> None:
    torch.save({"state_dict": bomb}, file, _use_new_zipfile_serialization=False)


def as_plain_pickle(file: Path, bomb: RunsCode) -> None:
    file.write_bytes(pickle.dumps(bomb))


def as_numpy(file: Path, bomb: RunsCode) -> None:
    np.savez(file, **{"params/img/embedding/kernel": np.array([bomb], dtype=object)})


@pytest.mark.parametrize(
    ("checkpoint", "name", "write"),
    [
        ("RN50:{}", "weights.pt", as_zip),
        ("RN50:{}", "weights.pt", as_legacy),
        ("RN50:{}", "weights.bin", as_plain_pickle),
        pytest.param("ViT-B-16-SigLIP:{}", "weights.npz", as_numpy, marks=pytest.mark.slow),
        ("resnet", "open_clip_pytorch_model.bin", as_legacy),
        ("chinese_clip", "pytorch_model.bin", as_zip),
        ("chinese_clip", "pytorch_model.bin", as_legacy),
        ("chinese_clip", "training_args.bin", as_plain_pickle),
    ],
)
def test_no_pickle_runs_wherever_it_lies(
    checkpoint: str,
    name: str,
    write: Bomb,
    tmp_path: Path,
    checkpoint_folder: Callable[[str], Path],
) -> None:
    proof, folder = tmp_path / "code-ran", tmp_path / "checkpoint"
    if "{}" in checkpoint:
        folder.mkdir()
        reference = checkpoint.format(folder / name)
    else:
        shutil.copytree(checkpoint_folder(checkpoint), folder)
        if name != "training_args.bin":
            for weights in folder.glob("*.safetensors"):
                weights.unlink()
        reference = str(folder)
    write(folder / name, RunsCode(proof))

    with contextlib.suppress(CheckpointError):  # where it is not even read
        load(parse(reference))

    assert not proof.exists()


def test_a_folder_without_weights_is_not_exported_with_random_ones(
    tmp_path: Path, checkpoint_folder: Callable[[str], Path]
) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(checkpoint_folder("resnet"), folder)
    (folder / "open_clip_model.safetensors").unlink()

    with pytest.raises(CheckpointError, match="weights"):
        load(parse(str(folder)))


def test_weights_of_another_shape_are_refused(
    tmp_path: Path, checkpoint_folder: Callable[[str], Path]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoint_folder("resnet"), folder)
    shutil.copy(checkpoint_folder("siglip") / "open_clip_model.safetensors", folder)

    with pytest.raises(CheckpointError, match="weights are of another architecture than mixed"):
        load(parse(str(folder)))


def some_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pictures/a.jpg", b"0" * 100)


def cut_off(file: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("name", "write", "what"),
    [
        ("weights.zip", some_zip, "is a zip archive, but holds no weights"),
        ("weights.pt", cut_off, "is a zip archive whose end is missing"),
        ("weights.pt", lambda file: file.write_bytes(b""), "is empty"),
        ("weights.pt", lambda file: file.write_text("<html>Not found"), "is not a file of weights"),
        ("w.safetensors", lambda file: file.write_bytes(b"\xff" * 64), "is no safetensors file"),
    ],
)
def test_a_file_that_holds_no_weights_is_named_for_what_it_is(
    name: str, write: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    write(tmp_path / name)

    with pytest.raises(CheckpointError, match=rf"{name} {what}"):
        load(parse(f"RN50:{tmp_path / name}"))


def test_a_local_weights_file_goes_with_its_architecture(tmp_path: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(3)
    model = open_clip.create_model("RN50")
    save_file(model.state_dict(), tmp_path / "finetuned.safetensors")

    loaded = load(parse(f"RN50:{tmp_path / 'finetuned.safetensors'}"))

    assert loaded.dim == 1024
    assert torch.equal(loaded.model.visual.conv1.weight, model.visual.conv1.weight)


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        ("ViT-B-32:openai", "ViT-B-32-quickgelu"),
        ("ViT-H-14-378:dfn5b", "ViT-H-14-378-quickgelu"),
        ("ViT-B-16:metaclip_fullcc", "ViT-B-16-quickgelu"),
    ],
)
def test_a_tag_that_wants_the_other_activation_is_refused(reference: str, right: str) -> None:
    with pytest.raises(CheckpointError, match=f"Export {right} instead"):
        load(parse(reference))


def test_a_published_file_is_known_by_its_name(tmp_path: Path) -> None:
    """OpenAI's weights need QuickGELU, which `ViT-B-32` lacks; open_clip loads them silently."""
    (tmp_path / "ViT-B-32.pt").touch()
    with pytest.raises(CheckpointError, match=r"ViT-B-32\.pt is ViT-B-32:openai.*-quickgelu"):
        load(parse(f"ViT-B-32:{tmp_path / 'ViT-B-32.pt'}"))


@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}),
        ("config.json", {"vision_config": {"hidden_act": "quick_gelu"}}),
    ],
)
def test_a_configuration_beside_the_weights_tells_their_activation(
    file: str, config: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "epoch_9.safetensors").touch()
    (tmp_path / file).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="ViT-B-16-quickgelu"):
        load(parse(f"ViT-B-16:{tmp_path / 'epoch_9.safetensors'}"))


def test_every_tag_can_be_exported_with_one_architecture_at_least() -> None:
    import open_clip

    exported = {tag for name in open_clip.list_models() for tag in quick_gelu.tags(name)}
    assert exported == {tag for _, tag in open_clip.list_pretrained()}
    assert "openai" not in quick_gelu.tags("ViT-B-32")
    assert "laion2b_s12b_b32k" in quick_gelu.tags("roberta-ViT-B-32")


@pytest.mark.slow  # three towers of random numbers, with what makes them tell inputs apart
def test_random_weights_are_the_same_for_the_same_seed() -> None:
    one, same, other = (load(parse("ViT-S-32-alt"), random_seed=seed).source for seed in (1, 1, 2))
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256


def test_what_a_checkpoint_says_of_itself(dual_encoder: Callable[[str], object]) -> None:
    siglip, resnet = dual_encoder("siglip"), dual_encoder("resnet")
    assert siglip.similarity.kind == "sigmoid"
    assert siglip.similarity.logit_bias == -10
    assert siglip.image.resize_mode == "squash"
    assert resnet.similarity.kind == "softmax"
    assert (resnet.image.resize_mode, resnet.image.fill) == ("longest", 127)
    assert resnet.dim == 64
