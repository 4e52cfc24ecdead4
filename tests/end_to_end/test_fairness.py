"""Who sends what takes long waits for it; those with small requests do not."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image

from tritonclip import Client, ImageError, ServerUnavailable
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.samples import sample_images
from tritonclip_export.served import code
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

SMALL = min(sample_images(), key=lambda file: file.stat().st_size).read_bytes()


@pytest.fixture(scope="module")
def large() -> list[bytes]:
    """Eight pictures of 16 megapixels and 60 KB."""

    def make(shade: int) -> bytes:
        stream = io.BytesIO()
        Image.new("CMYK", (4000, 4000), (shade, 20, 30, 0)).save(
            stream, "TIFF", compression="tiff_lzw"
        )
        return stream.getvalue()

    return [make(10 * i) for i in range(8)]


@pytest.fixture(scope="module")
def server(
    bundle: Callable[[str], Bundle], large: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One in which no more than three such pictures wait."""
    repository = tmp_path_factory.mktemp("fair") / "repository"
    assemble([bundle("demo")], repository, runtime="python")
    lane = repository / "demo_image_preprocess" / "1" / "lane.py"
    room = f"ROOM_BYTES = {3 * max(map(len, large))}"
    lane.write_text(lane.read_text().replace("ROOM_BYTES = 256 << 20", room))
    with Server(repository, ports=Ports(0, 0, 0)) as running:
        yield running


def longest_wait(server: Server, during: threading.Event) -> float:
    """Of a small picture and a short text, asked for one after the other."""
    longest = 0.0
    with Client(server.grpc_url) as client:
        picture = client.embed_images(SMALL)
        while not during.is_set():
            start = time.monotonic()
            np.testing.assert_allclose(client.embed_images(SMALL), picture, atol=1e-6)
            client.embed_texts(f"a cat, {start}")
            longest = max(longest, time.monotonic() - start)
    return longest


def waits(server: Server, send: Callable[[Client, int], object], count: int) -> tuple[float, float]:
    """Seconds that so many callers' requests take, and what a small one waits meanwhile."""
    done = threading.Event()
    with (
        ThreadPoolExecutor(count + 1) as callers,
        Client(server.grpc_url, concurrency=64) as client,
    ):
        small = callers.submit(longest_wait, server, done)
        client.health()
        start = time.monotonic()
        for sent in [callers.submit(send, client, number) for number in range(count)]:
            sent.result()
        taken = time.monotonic() - start
        done.set()
        return taken, small.result()


def test_small_requests_do_not_wait_for_large_pictures(server: Server, large: list[bytes]) -> None:
    taken, waited = waits(server, lambda client, i: client.embed_images(large[i % 8]), 16)

    assert waited < taken / 3


def test_short_texts_do_not_wait_for_long_ones(server: Server) -> None:
    text = "a photo of a cat \u2019 caf\u00e9 &amp; " * 3900  # 127 KiB
    taken, waited = waits(server, lambda client, i: client.embed_texts(f"{i} {text}"), 12)

    assert waited < taken / 3


def test_what_finds_no_room_to_wait_is_refused_for_now(server: Server, large: list[bytes]) -> None:
    def embed(picture: bytes) -> object:
        with Client(server.grpc_url, retries=0) as client:
            try:
                return client.embed_images(picture)
            except ServerUnavailable as error:
                return str(error)

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(embed, large))

    refused = [answer for answer in answers if isinstance(answer, str)]
    assert 0 < len(refused) < len(large)
    assert all("wait that take long" in reason for reason in refused)


def test_large_pictures_are_as_exact_and_as_picky_as_small_ones(
    server: Server, large: list[bytes], bundle: Callable[[str], Bundle]
) -> None:
    broken = large[0][: len(large[0]) // 2]
    with triton.InferenceServerClient(server.grpc_url) as client:
        images = np.array([[SMALL], [large[1]], [large[2]]], np.object_)
        tensor = triton.InferInput("IMAGE", [3, 1], "BYTES")
        tensor.set_data_from_numpy(images)
        pixels = client.infer("demo_image_preprocess", [tensor]).as_numpy("PIXELS")
    failed: list[ImageError] = []
    with Client(server.grpc_url) as client:
        alone = client.embed_images([SMALL, large[1]])
        mixed = client.embed_images([SMALL, broken, b"none", large[1]], on_error=failed.append)

    transform = code.image_transform(bundle("demo").info.image)
    for encoded, found in zip(images[:, 0], pixels, strict=True):
        np.testing.assert_array_equal(found, transform.pixels(encoded))
    np.testing.assert_allclose(mixed[[0, 3]], alone, atol=1e-6)
    assert [error.index for error in failed] == [1, 2]
    assert np.isnan(mixed[1:3]).all()
