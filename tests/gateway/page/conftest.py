"""The page in Chromium, in front of a real gateway, and archives that it shows."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from tritonclip import Client
from tritonclip_gateway.serving import HttpServer
from tritonclip_search import open_collection
from tritonclip_search.records import file_id
from tritonclip_search.stores.opening import open_store

MANY = 12_000


@pytest.fixture
def page(browser: Browser, gateway: HttpServer) -> Iterator[Page]:
    """A fresh one, opened; whatever goes wrong in it fails the test."""
    context = browser.new_context(base_url=gateway.url)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console",
        lambda said: problems.append(said.text) if "Security Policy" in said.text else None,
    )
    opened.set_default_timeout(10_000)
    opened.goto("/")
    yield opened
    context.close()
    assert problems == []


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory, twemoji: dict[str, bytes]) -> Path:
    """A cat for four seconds, then a rocket for four."""
    import av

    path = tmp_path_factory.mktemp("film") / "film.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width = stream.height = 144
        stream.pix_fmt = "yuv420p"
        for name in ("cat", "rocket"):
            with Image.open(io.BytesIO(twemoji[name])) as drawing:
                shown = drawing.convert("RGB").resize((144, 144))
            for _ in range(40):
                container.mux(stream.encode(av.VideoFrame.from_image(shown)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def filmed(film: Path, triton: Client) -> Path:
    """An archive of it."""
    folder = film.parent / "archive"
    with open_collection(str(folder), triton) as collection:
        collection.add([film])
    return folder


@pytest.fixture(scope="session")
def many(archive: Path, triton: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of more pictures than a search goes through."""
    folder = tmp_path_factory.mktemp("many") / "archive"
    shutil.copytree(archive, folder)
    with open_collection(str(archive), triton) as collection:
        drawn = [hit.record for hit in collection.search("a thing", top=len(collection))]
    vectors = np.stack([record.vector for record in drawn if record.vector is not None])
    chance = np.random.default_rng(0)
    moved = vectors[np.arange(MANY) % len(drawn)]
    moved = moved + chance.normal(0, 0.02, moved.shape).astype(np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    copies = []
    for number in range(MANY):
        id = file_id(f"copy {number}")
        copies.append(replace(drawn[number % len(drawn)], id=id, file=id, vector=moved[number]))
    store = open_store(str(folder))
    store.upsert("pictures", copies)
    store.settle("pictures")
    store.close()
    return folder
