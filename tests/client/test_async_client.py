"""The asynchronous client: what differs from the blocking one, which shares all but the waiting."""

import asyncio
import gc
import os
import time
import uuid
from itertools import count

import numpy as np
import pytest

from tritonclip import (
    AsyncClient,
    Client,
    ClientClosed,
    ImageError,
    RequestTimeout,
    ServerError,
    ServerUnavailable,
    WrongProtocol,
)

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
async def clip(url):
    async with AsyncClient(url) as client:
        yield client


async def test_the_twins_give_the_same_answers(url, clip, png, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png(RED))
    images = [path, png(GREEN), np.full((4, 4, 3), RED, dtype=np.uint8)]
    texts = ["red", "naïve 猫"]
    with Client(url) as twin:
        assert await clip.info() == twin.info()
        assert await clip.health() == twin.health()
        assert (await clip.embed_images(images) == twin.embed_images(images)).all()
        assert (await clip.embed_images(path) == twin.embed_images(path)).all()
        assert (await clip.embed_texts(texts) == twin.embed_texts(texts)).all()
        assert (await clip.embed_texts("red") == twin.embed_texts("red")).all()
        assert (await clip.similarity(images, texts) == twin.similarity(images, texts)).all()
        labels = ["red", "green"]
        theirs = twin.label_embeddings(labels, "openai")
        assert (await clip.label_embeddings(labels, "openai") == theirs).all()
        assert await clip.label_embeddings(labels, "openai") is not theirs
        together = await asyncio.gather(*(clip.label_embeddings(["new"]) for _ in range(8)))
        assert len({id(vectors) for vectors in together}) == 1
        mine, theirs = await clip.classify(images, labels), twin.classify(images, labels)
        assert [c.top() for c in mine] == [c.top() for c in theirs]
        assert (await clip.classify(path, labels)).label == "red"
    assert (await clip.embed_images([])).shape == (0, 4)


async def test_asynchronous_iterables_are_read_as_they_come(url, png):
    numbers = count()

    async def images():
        for i in numbers:
            await asyncio.sleep(0)
            yield png((i % 256, 0, 0))

    async with AsyncClient(url, batch_size=2, concurrency=3) as clip:
        seen = []
        async for vector in clip.stream_images(images()):
            seen.append(round(float(32 * vector[0] / vector[3])))
            if len(seen) == 200:
                break
        assert seen == [i % 256 for i in range(200)]
        assert next(numbers) <= 200 + 2 * (3 + 1)


async def test_slow_items_do_not_change_the_order(url, png):
    images = [(b"sleep 0.3;" if i in (0, 7) else b"") + png((i, 0, 0)) for i in range(24)]
    async with AsyncClient(url, batch_size=2, concurrency=4) as clip:
        vectors = await clip.embed_images(images)
    assert np.round(32 * vectors[:, 0] / vectors[:, 3]).tolist() == list(range(24))


async def test_tasks_share_the_requests_in_flight(url, png):
    async with AsyncClient(url, batch_size=1, concurrency=1) as clip:
        await clip.info()
        start = time.monotonic()
        await asyncio.gather(*(clip.embed_images(b"sleep 0.1;" + png(RED)) for _ in range(4)))
        assert time.monotonic() - start > 0.38


async def test_the_loop_goes_on_while_files_are_read(clip, tmp_path):
    # A pipe that nobody writes to blocks whoever opens it.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    waiting = asyncio.create_task(clip.embed_images(pipe))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    pipe.write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        await waiting


async def test_bad_items_cost_only_themselves(clip, png):
    images = [png(RED), b"broken", png(GREEN), "missing.jpg"] * 5
    reported = []
    vectors = await clip.embed_images(images, on_error=reported.append)
    assert [error.index for error in reported] == [i for i in range(20) if i % 2]
    assert np.isnan(vectors[1::2]).all()
    assert not np.isnan(vectors[::2]).any()
    with pytest.raises(ImageError, match="image 1: "):
        await clip.embed_images(images)


async def test_failures_have_the_same_types(url, png):
    async with AsyncClient(url, timeout=0.3, retries=2) as clip:
        await clip.info()
        with pytest.raises(RequestTimeout, match=r"within 0.3 s"):
            await clip.embed_images(b"sleep 0.6;" + png(RED))
        with pytest.raises(ServerError, match="kaboom"):
            await clip.embed_texts("crash;red")
    async with AsyncClient(url, retries=2) as clip:
        assert (await clip.embed_texts(f"busy {uuid.uuid4().hex[:8]} 1;red")).shape == (4,)


async def test_a_server_that_is_not_there_or_another_is_recognised(server):
    for url in ("grpc://127.0.0.1:1", "http://127.0.0.1:1"):
        async with AsyncClient(url, retries=0) as clip:
            with pytest.raises(ServerUnavailable, match=f"no server at {url}"):
                await clip.embed_texts("red")
            assert not (await clip.health()).live
    async with AsyncClient(f"http://127.0.0.1:{server.grpc_port}") as clip:
        with pytest.raises(WrongProtocol, match="not HTTP"):
            await clip.info()
    async with AsyncClient(f"https://127.0.0.1:{server.http_port}", retries=0) as clip:
        with pytest.raises(ServerUnavailable, match="no server with TLS at"):
            await clip.info()


async def test_a_cancelled_task_leaves_nothing_behind(url, png):
    async with AsyncClient(url, batch_size=1) as clip:
        await clip.info()
        before = asyncio.all_tasks()
        task = asyncio.create_task(clip.embed_images([b"sleep 0.5;" + png(RED)] * 4))
        await asyncio.sleep(0.1)
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 0.4
        assert asyncio.all_tasks() == before
        assert (await clip.embed_texts("red")).shape == (4,)


async def test_a_timeout_of_the_caller_is_the_callers(url, png):
    async with AsyncClient(url) as clip:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(clip.embed_images(b"sleep 0.5;" + png(RED)), 0.1)


async def test_an_error_cancels_the_other_requests(url, png):
    async with AsyncClient(url, batch_size=1) as clip:
        await clip.info()
        before = asyncio.all_tasks()
        with pytest.raises(ImageError):
            await clip.embed_images([b"broken"] + [b"sleep 0.5;" + png(RED)] * 3)
        assert asyncio.all_tasks() == before


async def test_an_abandoned_stream_is_cleaned_up(url, png):
    async with AsyncClient(url, batch_size=1) as clip:
        await clip.info()
        before = asyncio.all_tasks()
        async for _ in clip.stream_images(png(RED) for _ in count()):
            break
        gc.collect()
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() == before


async def test_closing_ends_what_is_in_flight(url, png):
    clip = AsyncClient(url, batch_size=1)
    await clip.info()
    task = asyncio.create_task(clip.embed_images([b"sleep 0.5;" + png(RED)] * 3))
    await asyncio.sleep(0.1)
    await clip.close()
    await clip.close()
    with pytest.raises(ClientClosed):
        await asyncio.wait_for(task, 0.3)
    for call in (clip.info, clip.health, lambda: clip.embed_texts("red")):
        with pytest.raises(ClientClosed):
            await call()


async def test_a_client_may_be_made_before_the_loop_runs(url):
    clip = await asyncio.to_thread(AsyncClient, url)
    assert (await clip.embed_texts("red")).shape == (4,)
    await clip.close()
