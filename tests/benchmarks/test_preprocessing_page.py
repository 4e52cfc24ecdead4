"""The page about preprocessing shows the committed figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.pages import preprocessing


def test_the_page_is_that_of_the_committed_result(root: Path) -> None:
    result = json.loads((root / "benchmarks/results/preprocessing.json").read_text())
    assert preprocessing.render(result) in preprocessing.PAGE.read_text()
