"""A server starts no more threads than it may use cores."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def module(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "model_repository/image_preprocess/1/cores.py"))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of 64 cores, all of them allowed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


V1 = "3:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n"


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),  # docker run --cpus 4
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000"}, 3),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {}, 64),
        # A service of systemd with CPUQuota=200%, and a container of version 1 seen from inside.
        ("0::/system.slice/triton.service\n", {"system.slice/triton.service/cpu.max": "2 1"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        # Version 1 seen from the machine: the group's own limit, not that of all.
        (
            V1,
            {
                "cpu/docker/1/cpu.cfs_quota_us": "100000\n",
                "cpu/docker/1/cpu.cfs_period_us": "50000\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
    ],
)
def test_a_share_of_time_is_worth_so_many_cores(
    own: str, files: dict[str, str], cores: int, module: dict[str, Any], tmp_path: Path
) -> None:
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "own").write_text(own)

    assert module["usable"](tmp_path / "groups", tmp_path / "own") == cores


@pytest.mark.usefixtures("one_core")
def test_without_control_groups_affinity_counts(module: dict[str, Any], tmp_path: Path) -> None:
    assert module["usable"](tmp_path, tmp_path / "nothing") == 1


@pytest.mark.usefixtures("one_core")
def test_a_library_is_asked_for_threads_only_where_it_cannot_know(module: dict[str, Any]) -> None:
    assert module["threads"](0) == (1 if (os.cpu_count() or 1) > 1 else 0)
    assert module["threads"](3) == 3  # as `--threads` said
