"""Pictures of the gateway's page for the docs, of a gateway with the demo's drawings behind it.

    python -m scripts.page_screenshots http://127.0.0.1:8080

Needs Chromium. Colours are reduced to 256, so that each is small.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "page"

_Scheme = Literal["light", "dark"]


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    url = parser.parse_args().url
    DOCS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        for scheme in ("light", "dark"):
            _save(_searched(browser, url, scheme, 1100), f"search-{scheme}")
        _save(_labelled(browser, url, "dark"), "zero-shot-dark")
        _save(_searched(browser, url, "light", 375), "telephone-light")
        browser.close()


def _open(browser: Browser, url: str, scheme: _Scheme, width: int, height: int) -> Page:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
    page.goto(url)
    return page


def _searched(browser: Browser, url: str, scheme: _Scheme, width: int) -> Page:
    page = _open(browser, f"{url}/#search?text=a+citrus+fruit&without=a+hand", scheme, width, 620)
    expect(page.locator(".hit .score").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    return page


def _labelled(browser: Browser, url: str, scheme: _Scheme) -> Page:
    page = _open(browser, f"{url}/#zero-shot", scheme, 1100, 460)
    with zipfile.ZipFile(ROOT / "demo" / "twemoji.zip") as drawings:
        picture = drawings.read("octopus.png")
    page.get_by_label("Labels").fill("an octopus\na spider\na balloon\na rocket")
    page.locator("#zero-shot-file").set_input_files(
        {"name": "octopus.png", "mimeType": "image/png", "buffer": picture}
    )
    expect(page.get_by_role("list", name="Probabilities")).to_contain_text("octopus")
    return page


def _save(page: Page, name: str) -> None:
    file = DOCS / f"{name}.png"
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        shown.convert("RGB").quantize(256).save(file, optimize=True)
    page.close()
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
