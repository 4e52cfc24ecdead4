"""The page of `search --page`, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, expect

from accessibility import violations
from tritonclip import Client
from tritonclip_search import open_collection
from tritonclip_search.looking.page import page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def written(
    server: Any, twemoji: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A page on a cat twice, something of an awkward name, and a file that has vanished."""
    home = tmp_path_factory.mktemp("looking")
    pictures = home / "a & b"
    pictures.mkdir()
    for name, drawing in (
        ("cat.png", "cat"),
        ("again.png", "cat"),
        ("<i>#1? 100%.png", "dog"),
        ("gone.png", "rocket"),
    ):
        (pictures / name).write_bytes(twemoji[drawing])
    with (
        Client(server.grpc_url, model="demo") as client,
        open_collection(str(home / "archive"), client) as collection,
    ):
        collection.add([pictures])
        (pictures / "gone.png").unlink()
        hits = collection.search("a cat", near_duplicates="group")
    file = home / "hits.html"
    file.write_text(page("a <b>cat</b>", "among 4 pictures", hits), encoding="utf-8")
    return file


def test_hits_are_shown_and_open_their_files(browser: Browser, written: Path) -> None:
    shown = browser.new_page()
    shown.goto(written.as_uri())

    expect(shown.get_by_role("heading")).to_have_text("a <b>cat</b>")
    expect(shown.locator(".path")).to_have_count(3)
    assert shown.locator("img").evaluate_all("all => all.every((img) => img.naturalWidth)")
    links = shown.locator("li a").evaluate_all("all => all.map((a) => a.href)")
    files = {Path(unquote(link.removeprefix("file://"))) for link in links}
    assert {file.name for file in files} >= {"<i>#1? 100%.png", "gone.png"}
    assert [file.name for file in files if not file.exists()] == ["gone.png"]
    expect(shown.locator(".none")).to_have_text("not readable now")
    shown.get_by_text("1 more like it").click()
    expect(shown.locator("details")).to_contain_text("a & b/")
    shown.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it_also_on_a_telephone(
    browser: Browser, written: Path, scheme: Any
) -> None:
    shown = browser.new_page(color_scheme=scheme, viewport={"width": 375, "height": 667})
    shown.goto(written.as_uri())

    assert violations(shown) == {}
    assert shown.evaluate("document.documentElement.scrollWidth") <= 375
    first, second = shown.locator("li").nth(0), shown.locator("li").nth(1)
    assert first.bounding_box()["y"] == second.bounding_box()["y"]  # two beside each other
    shown.close()
