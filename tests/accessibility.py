"""What axe-core has against a page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / ".tools" / "page" / "node_modules" / "axe-core" / "axe.min.js"


def violations(page: Page) -> dict[str, list[str]]:
    """The elements that violate a rule, by its name."""
    if not AXE.exists():
        pytest.skip("no axe-core here; `make test-page` fetches it")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found}
