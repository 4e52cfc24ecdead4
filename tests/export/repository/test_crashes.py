"""Whatever moment a crash chooses, a repository holds whole models, and the next run mends it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("operations", "changes", "least"),
    [
        ("publishing", ["changed", "pruned"], 10),
        pytest.param("all", ["begun", "changed", "added to", "pruned"], 60, marks=pytest.mark.slow),
    ],
)
def test_a_crash_at_any_file_operation_leaves_whole_models_and_is_mended(
    operations: str, changes: list[str], least: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, TESTS / "crashing.py", tmp_path, operations, *changes],
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stderr
    survived = json.loads(done.stdout)
    assert list(survived) == changes
    assert sum(survived.values()) >= least
