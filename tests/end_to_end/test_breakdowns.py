"""What callers notice of a server whose processes are killed: a pause."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from echo_model import ANY, footprint, tritonserver_pid
from tritonclip import AsyncClient, Client, RequestTimeout
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server


@pytest.fixture(scope="module")
def server(
    bundle: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("breaking") / "repository"
    assemble([bundle("demo")], folder, runtime="python")
    with Server(folder, ports=ANY, restart=True) as running:
        waiting = threading.Thread(target=running.wait)  # as `serve` does
        waiting.start()
        yield running
        last = footprint(folder)
        running.stop()
        waiting.join()
    assert last.left == []


def break_model(server: Server, name: str, number: int) -> None:
    """Kill or stop the process of a Python model."""
    for pid in footprint(server.repository).pids:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if words[0].endswith("_stub") and any(f"/{name}/" in word for word in words):
            os.kill(pid, number)
            return
    raise AssertionError(f"{name} has no process")


@pytest.mark.parametrize(
    ("model", "number"),
    [("demo_text_encoder", signal.SIGKILL), ("demo_image_encoder", signal.SIGSTOP)],
)
def test_requests_outlast_a_breakdown_in_every_client(
    model: str, number: int, server: Server
) -> None:
    grpc, http = Client(server.grpc_url), Client(f"http://{server.http_url}")
    images = sample_images()[:4]
    texts = [f"a photo of a cat, number {i}, {number}" for i in range(4)]
    expected = grpc.embed_images(images)

    async def embed_asynchronously() -> np.ndarray:
        async with AsyncClient(server.grpc_url) as client:
            return np.stack([row async for row in client.stream_images(images)])

    with grpc, http, ThreadPoolExecutor() as threads:
        break_model(server, model, number)
        jobs = [threads.submit(client.embed_images, images) for client in (grpc, http)]
        jobs.append(threads.submit(asyncio.run, embed_asynchronously()))
        both = [threads.submit(client.embed_texts, texts) for client in (grpc, http)]
        for job in jobs:
            np.testing.assert_array_equal(job.result(), expected)
        np.testing.assert_array_equal(both[0].result(), both[1].result())


@pytest.mark.parametrize("protocol", ["grpc", pytest.param("http", marks=pytest.mark.slow)])
def test_a_stream_goes_on_through_a_restart_without_a_gap_or_a_repetition(
    protocol: str, server: Server
) -> None:
    texts = [f"a photo of {protocol} {i} cats" for i in range(600)]
    url = server.grpc_url if protocol == "grpc" else f"http://{server.http_url}"
    with Client(url, batch_size=4) as client:
        expected = client.embed_texts(texts)
        rows = []
        for row in client.stream_texts(texts):
            rows.append(row)
            if len(rows) == 100:
                os.kill(tritonserver_pid(server.repository), signal.SIGKILL)

    np.testing.assert_allclose(rows, expected, atol=1e-5)


# Of a model that a picture makes hang.
HANG = """def execute(self, requests):
        for request in requests:
            image = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().item(0)
            if image == b"hang":
                __import__("time").sleep(3600)
"""


def test_a_model_that_runs_and_does_nothing_is_found_by_asking(
    bundle: Callable[[str], object], tmp_path: Path
) -> None:
    assemble([bundle("demo")], tmp_path / "repository", runtime="python")
    code = tmp_path / "repository" / "demo_image_preprocess" / "1" / "model.py"
    code.write_text(code.read_text().replace("def execute(self, requests):\n", HANG))
    said: list[str] = []
    with (
        Server(
            tmp_path / "repository", ports=ANY, restart=True, answer_timeout=2, log=said.append
        ) as server,
        Client(server.grpc_url, timeout=60) as client,
    ):
        before = client.embed_images(sample_images()[0])
        with Client(server.grpc_url, timeout=2) as other, pytest.raises(RequestTimeout):
            other.embed_images(b"hang")
        np.testing.assert_allclose(client.embed_images(sample_images()[0]), before, atol=1e-6)

    assert "demo_image_preprocess does not answer: starting the server again" in said


def test_health_tells_of_a_dead_process_while_the_server_calls_itself_ready(
    bundle: Callable[[str], object], tmp_path: Path
) -> None:
    assemble([bundle("demo")], tmp_path / "repository", runtime="python")
    with (
        Server(tmp_path / "repository", ports=ANY) as server,  # which nobody mends
        Client(server.grpc_url) as client,
    ):
        break_model(server, "demo_image_preprocess", signal.SIGKILL)
        health = client.health()

    assert health.live
    assert health.ready
    assert not health.ok
    assert health.detail  # the model's name, or that the server hung up: it dies of some requests
