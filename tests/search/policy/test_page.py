"""The page of `moderate --page`, in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from typer.testing import Result

from accessibility import violations

pytestmark = pytest.mark.browser


@pytest.fixture
def written(run: Callable[..., Result], shop: Path) -> Path:
    """Decisions on drawings, one of which has vanished since they were indexed."""
    run("index", "pictures")
    (shop.parent / "pictures" / "cat.png").unlink()
    run("moderate", "--policy", shop.name, "--page", "page.html")
    return shop.parent / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_sees_what_they_did_not_choose_to(
    browser: Browser, written: Path, scheme: Any
) -> None:
    shown = browser.new_page(color_scheme=scheme, viewport={"width": 375, "height": 667})
    shown.goto(written.as_uri())

    assert shown.locator("img").count() == 24
    expect(shown.locator(".none")).to_have_text("not readable now")
    first = shown.locator("img").first
    blurred = "img => getComputedStyle(img).filter"
    assert first.evaluate(blurred) == "blur(14px)"
    first.click()
    assert first.evaluate(blurred) == "none"
    assert shown.locator("img").nth(1).evaluate(blurred) == "blur(14px)"

    second = shown.get_by_role("checkbox").nth(1)  # by keyboard, too
    second.focus()
    shown.keyboard.press("Space")
    assert shown.locator("img").nth(1).evaluate(blurred) == "none"

    assert violations(shown) == {}
    assert shown.evaluate("document.documentElement.scrollWidth") <= 375
    shown.close()
