"""The gateway's page in Chromium: until it is there, and until a search shows its first picture.

    python -m benchmarks.studies.page bundles/demo

Asked of an archive of the demo's drawings, and of one of a million vectors: those of the drawings,
each moved a little many times over, all of them of the same files, kept in the same folder store.
Gateway, Triton and Chromium share this machine. The two take turns, each visit with an empty cache:

- painted: from the navigation to the first contentful paint;
- opened: from the navigation to an address with a search in it, to its first picture on the screen;
- typed: from a key that ends a query, to its first picture on the screen. The page waits 120 ms for
  a further key, which is part of it;
- the end: from the key End to the last of the 10,000 pictures that a search goes through.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import record
from benchmarks.drawings import drawings
from benchmarks.gateway_server import running
from benchmarks.servers import served
from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_gateway.page.assets import STATIC
from tritonclip_search import open_collection
from tritonclip_search.records import file_id
from tritonclip_search.stores.opening import open_store

QUERIES = (
    "a citrus fruit",
    "a sad face",
    "a city at night",
    "a red animal",
    "a musical instrument",
)
_BLOCK = 20_000
_NOISE = 0.02  # of each number, so that copies differ as pictures of a kind do

# Notes when the picture of the first hit is on the screen, and which search it is of.
WATCH = """
    window.seen = (since) => new Promise((done) => {
        const look = () => {
            const image = document.querySelector("li[aria-posinset='1'] img");
            const isNew = image && image !== window.before;
            if (!isNew || !image.complete || !image.naturalWidth) requestAnimationFrame(look);
            else requestAnimationFrame(() => done(performance.now() - since));
        };
        look();
    });
"""


def main() -> None:
    """Measure the demo bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Bundle.load(options.bundle)) as triton:
        home = Path(folder)
        count = _index(home, triton.grpc_url)
        _copy(home / "small", home / "large", options.vectors)
        with (
            running(triton.grpc_url, "--archive", str(home / "small")) as (small, _),
            running(triton.grpc_url, "--archive", str(home / "large")) as (large, _),
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox"] if os.geteuid() == 0 else [],
            )
            figures = _measure(browser, {count: small, options.vectors: large}, options.rounds)
            version = browser.version
            browser.close()
    files = [len(file.read_bytes()) for file in STATIC.iterdir()]
    figures |= {"chromium": version, "bytes": sum(files), "files": len(files)}
    print(json.dumps(figures, indent=2))
    print(record.save("page", figures))


def _index(home: Path, url: str) -> int:
    pictures = home / "pictures"
    pictures.mkdir()
    for number, content in enumerate(drawings().values()):
        (pictures / f"{number}.png").write_bytes(content)
    with Client(url) as client, open_collection(str(home / "small"), client) as collection:
        return collection.add([pictures]).added


def _copy(small: Path, large: Path, count: int) -> None:
    """`count` records like those of the small archive."""
    store = open_store(str(small))
    drawn = list(store.scan("pictures", vectors=True))
    description = store.describe("pictures")
    store.close()
    assert description is not None
    known = np.stack([each.vector for each in drawn if each.vector is not None])
    chance = np.random.default_rng(0)
    store = open_store(str(large))
    store.create("pictures", description)
    for begin in range(0, count, _BLOCK):
        numbers = np.arange(begin, min(begin + _BLOCK, count))
        vectors = known[numbers % len(drawn)]
        vectors = vectors + chance.normal(0, _NOISE, vectors.shape).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        block = []
        for number, vector in zip(numbers.tolist(), vectors, strict=True):
            id = file_id(str(number))
            block.append(replace(drawn[number % len(drawn)], id=id, file=id, vector=vector))
        store.upsert("pictures", block)
    store.settle("pictures")
    store.close()


def _measure(browser: Browser, urls: dict[int, str], rounds: int) -> dict[str, Any]:
    first = {count: _visit(browser, url, QUERIES[0]) for count, url in urls.items()}
    visits: dict[int, list[dict[str, float]]] = {count: [] for count in urls}
    for number in range(rounds):
        for count in list(urls)[:: 1 if number % 2 else -1]:
            query = QUERIES[number % len(QUERIES)]
            visits[count].append(_visit(browser, urls[count], query))
    return {
        "rounds": rounds,
        "sizes": [
            {
                "vectors": count,
                "first_visit": first[count],
                "median": {
                    name: statistics.median(visit[name] for visit in visits[count])
                    for name in first[count]
                },
                "worst": {
                    name: max(visit[name] for visit in visits[count]) for name in first[count]
                },
            }
            for count in urls
        ],
    }


def _visit(browser: Browser, url: str, query: str) -> dict[str, float]:
    """Milliseconds, see above."""
    measured: dict[str, float] = {}
    page = _new(browser)
    page.goto(f"{url}/#search?text={query.replace(' ', '+')}")
    measured["opened"] = page.evaluate("seen(0)")
    page.context.close()

    page = _new(browser)
    page.goto(url)
    page.wait_for_selector("#search-notice h2")
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    measured["painted"] = page.evaluate(paint)
    page.fill("#text", query[:-1])
    page.evaluate("seen(0)")
    page.wait_for_timeout(500)  # until all that came with it is drawn
    page.evaluate(
        """() => {
            window.before = document.querySelector("li[aria-posinset='1'] img");
            const began = () => (window.typed = seen(performance.now()));
            addEventListener("input", began, { once: true });
        }"""
    )
    page.keyboard.press("End")
    page.keyboard.type(query[-1])
    measured["typed"] = page.evaluate("typed")
    page.focus(".hit")
    measured["to the end"] = page.evaluate(
        """() => new Promise((done) => {
            const began = performance.now();
            const key = new KeyboardEvent("keydown", { key: "End", bubbles: true });
            document.activeElement.dispatchEvent(key);
            const look = () => {
                const cells = [...document.querySelectorAll("#hits li")];
                const last = cells.reduce((a, b) => (+a.ariaPosInSet > +b.ariaPosInSet ? a : b));
                const image = last.querySelector("img");
                if (image?.complete && image.naturalWidth) done(performance.now() - began);
                else requestAnimationFrame(look);
            };
            look();
        })"""
    )
    page.context.close()
    return measured


def _new(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.add_init_script(WATCH)
    return page


if __name__ == "__main__":
    main()
