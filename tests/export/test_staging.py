"""Folders that appear whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tritonclip_export.errors import MountPointError
from tritonclip_export.staging import replace_folder, staging_folder


def test_a_folder_is_exchanged_and_the_old_one_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for content in ("first", "second"):
        with staging_folder(target) as folder:
            (folder / "file").write_text(content)
            replace_folder(folder, target)
        assert (target / "file").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    def fail() -> None:
        with staging_folder(tmp_path / "target") as folder:
            (folder / "half").touch()
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()

    assert [path.name for path in tmp_path.rglob("*")] == ["target"]


def test_only_the_folders_of_dead_processes_are_cleaned_up(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".target.staging-{dead.pid}-x").mkdir()
    (tmp_path / f".target.staging-{os.getpid()}-y").mkdir()

    with staging_folder(tmp_path / "target"):
        pass

    assert [path.name for path in tmp_path.iterdir()] == [f".target.staging-{os.getpid()}-y"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a mount point that is always there")
def test_a_mount_point_is_refused() -> None:
    with pytest.raises(MountPointError, match="/dev/shm/models"), staging_folder(Path("/dev/shm")):
        pytest.fail("the block must not be entered")
