"""Folders that appear whole or not at all."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tritonclip_export.errors import DiskSpaceError, MountPointError
from tritonclip_export.staging.files import whole_file
from tritonclip_export.staging.folders import replace_folder, staging_folder


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


def test_a_full_disk_is_told_apart_from_other_failures(
    small_disk: Callable[[int], Path],
) -> None:
    target = small_disk(100) / "target"
    target.mkdir()

    with (
        pytest.raises(DiskSpaceError, match=f"{target}, which is as it was"),
        staging_folder(target) as folder,
    ):
        (folder / "large").write_bytes(bytes(1_000_000))
    with pytest.raises(OSError, match="Is a directory"), staging_folder(target) as folder:
        folder.write_text("")

    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "report.html", tmp_path / "report.html"
    real.write_text("before")
    link.symlink_to(real)

    def fail() -> None:
        with whole_file(link) as partial:
            partial.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        fail()
    assert link.read_text() == "before"
    with whole_file(link) as partial:
        partial.write_text("after")

    assert link.is_symlink()
    assert real.read_text() == "after"
    assert [path.name for path in real.parent.iterdir()] == ["report.html"]


def test_a_pipe_is_written_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)

    with whole_file(pipe) as file:
        file.write_text("through it")

    assert reader.communicate(timeout=10)[0] == "through it"
    assert pipe.is_fifo()
