"""Which TensorRT a container has: said, read in its image, or from the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_records import VERSION
from tritonclip_export.errors import RepositoryError
from tritonclip_export.server import container
from tritonclip_export.tensorrt.serving_version import RELEASES, Target, find


def test_the_tensorrt_of_a_container_is_known_or_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without docker

    assert find() == Target(container.TAG, VERSION, f"confirmed for {container.TAG}")
    assert str(find("25.12")) == "TensorRT 10.14.1 (reported, not confirmed for 25.12)"
    assert find("26.02", version="10.15.1.29").version == "10.15.1.29"
    assert find("31.01").version is None
    with pytest.raises(RepositoryError, match=r"'ten' is not a version.*printenv TRT_VERSION"):
        find("26.02", version="ten")


def test_the_image_is_believed_before_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'if [ "$5" = nvcr.io/nvidia/tritonserver:25.12-py3 ]; then\n'
        """  echo '["PATH=/bin", "TRT_VERSION=10.14.1.48+cuda13.0"]'\n"""
        "else exit 1; fi\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert find("25.12").version == "10.14.1.48"
    assert "read from the image" in find("25.12").known
    assert find("26.02").version == "10.15.1"


def test_the_guide_has_the_table_that_is_used(root: Path) -> None:
    guide = (root / "docs" / "engines.md").read_text()
    rows = [line for line in guide.splitlines() if line.endswith(("| confirmed |", "| reported |"))]

    assert rows == [
        f"| {r.tag} | {r.tensorrt} | {'confirmed' if r.confirmed else 'reported'} |"
        for r in RELEASES
    ]
