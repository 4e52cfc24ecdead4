"""The page about preprocessing shows the committed figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_the_page_is_that_of_the_committed_result(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import preprocessing_page

    result = json.loads((root / "benchmarks/results/preprocessing.json").read_text())
    assert preprocessing_page.render(result) in preprocessing_page.PAGE.read_text()
