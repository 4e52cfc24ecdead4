"""The matrix of the catalogue: a row each, whatever happens in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(root: Path, tmp_path: Path, *arguments: str) -> tuple[dict[str, dict[str, Any]], str, str]:
    """Rows by architecture, the page, and what was printed."""
    rows, page = tmp_path / "rows", tmp_path / "models.md"
    command = [sys.executable, "-m", "benchmarks.matrix", *arguments]
    command += ["--rows", str(rows), "--page", str(page)]
    # A walk that is on its way on this machine holds the lock in the usual place.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    read = {file.stem: json.loads(file.read_text()) for file in rows.glob("*.json")}
    return read, page.read_text(), done.stdout


@pytest.mark.slow
def test_an_architecture_is_exported_checked_and_served_once(root: Path, tmp_path: Path) -> None:
    rows, page, _ = run(root, tmp_path, "ViT-S-32-alt")
    row = rows["ViT-S-32-alt"]
    assert row["passed"], row["reason"]
    assert set(row["facts"]["parity"]) == {
        *("token ids", "pixels", "onnx image", "onnx text", "served image", "served text"),
        *("fp16 image", "fp16 text"),
    }
    products = row["facts"]["products"]
    assert {tower: counts["all"] for tower, counts in products.items()} == {"image": 74, "text": 61}
    assert f"| {sum(counts['fp32'] for counts in products.values())} of 135 |" in page
    assert set(row["facts"]["engines"]) == {"image", "text"}
    assert all(step["seconds"] > 0 and step["peak_mib"] > 0 for step in row["steps"])
    assert "**1 of 158 pass**" in page

    rows, _, printed = run(root, tmp_path, "ViT-S-32-alt")
    assert printed == ""
    assert rows["ViT-S-32-alt"] == row


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        pytest.param(("--minutes", "0.01"), "longer than 0.01 minutes", marks=pytest.mark.slow),
        (("--memory", "0.2"), "0.2 GiB"),
    ],
)
def test_a_row_over_a_limit_stays_with_its_reason(
    root: Path, tmp_path: Path, limit: tuple[str, str], reason: str
) -> None:
    rows, page, _ = run(root, tmp_path, "ViT-S-32-alt", *limit)
    assert not rows["ViT-S-32-alt"]["passed"]
    assert reason in rows["ViT-S-32-alt"]["reason"]
    assert "ViT-S-32-alt fails at" in page
    assert reason in page
