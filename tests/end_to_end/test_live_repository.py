"""A repository that changes while a polling server uses it."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc

from tritonclip import Client, ImageError
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import EditedConfigError
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.samples import sample_images
from tritonclip_export.served.parameters import Limits
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

SMALL = min(sample_images(), key=lambda path: path.stat().st_size).read_bytes()
LARGE = max(sample_images(), key=lambda path: path.stat().st_size).read_bytes()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing changed"
        time.sleep(0.2)


def test_a_polling_server_answers_through_every_change(
    bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    """Limits change, a bundle is added, one is replaced, while a client keeps asking."""
    repository = tmp_path / "repository"

    def reassemble(*bundles: Bundle, max_image_bytes: int) -> None:
        limits = Limits(max_image_bytes=max_image_bytes)
        assemble(bundles, repository, runtime="python", limits=limits)

    def is_taken(encoded: bytes) -> bool:
        with Client(server.grpc_url, model="resnet") as fresh:
            try:
                fresh.embed_images(encoded)
            except ImageError as error:
                # By the client, which asks for the limit once, or by the server.
                if "limit" not in error.reason and "more than" not in error.reason:
                    raise
                return False
            return True

    answers: list[np.ndarray] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking() -> None:
        with Client(server.grpc_url, model="resnet", retries=20) as client:
            while not stop.wait(0.02):
                try:
                    answers.append(client.embed_images(SMALL))
                except Exception as error:
                    failures.append(error)

    resnet, siglip = bundle("resnet"), bundle("siglip")
    reassemble(resnet, max_image_bytes=10_000_000)
    with (
        Server(repository, ports=Ports(0, 0, 0), control="poll", poll_seconds=1) as server,
        Client(server.grpc_url, model="resnet") as client,
    ):
        thread = threading.Thread(target=keep_asking)
        thread.start()
        try:
            assert is_taken(LARGE)
            before = client.embed_texts("A CAT")
            reassemble(resnet, max_image_bytes=len(LARGE) - 1)
            wait_until(lambda: not is_taken(LARGE))
            changed = _keeping_capitals(resnet, tmp_path / "changed")
            reassemble(changed, siglip, max_image_bytes=10_000_000)
            wait_until(lambda: is_taken(LARGE))
            # No answer of a model outlives it.
            wait_until(lambda: not np.allclose(client.embed_texts("A CAT"), before, atol=1e-3))
            with Client(server.grpc_url, model="siglip") as other:
                wait_until(lambda: other.health().ok)
        finally:
            stop.set()
            thread.join()

    assert not failures
    assert len(answers) > 10
    assert all(np.allclose(answer, answers[0], atol=1e-6) for answer in answers)


def _keeping_capitals(bundle: Bundle, folder: Path) -> Bundle:
    shutil.copytree(bundle.path, folder)
    text = bundle.info.text.model_copy(update={"cleaning": ()})
    changed = Bundle(path=folder, info=bundle.info.model_copy(update={"text": text}))
    changed.save()
    return changed


# What becomes of an edit is tested by file in export/repository/test_edits.py, and that a polling
# server takes what changes, above.
@pytest.mark.slow
def test_a_polling_server_takes_an_overlay_and_no_edit_is_lost(
    bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    repository, overlays = tmp_path / "repository", tmp_path / "overlays"
    assemble([bundle("resnet")], repository, runtime="python")
    edited = repository / "resnet_text" / "config.pbtxt"

    def config() -> Any:
        with grpc.InferenceServerClient(server.grpc_url) as asked:
            return asked.get_model_config("resnet_text").config

    with Server(repository, ports=Ports(0, 0, 0), control="poll", poll_seconds=1) as server:
        assert config().response_cache.enable
        edited.write_text(edited.read_text().replace("enable: true", "enable: false"))
        wait_until(lambda: not config().response_cache.enable)
        with pytest.raises(EditedConfigError, match=r"would change in response_cache\n"):
            assemble([bundle("resnet")], repository, runtime="python")
        assert not config().response_cache.enable

        overlays.mkdir()
        (overlays / "resnet_text.pbtxt").write_text("response_cache { enable: false }")
        assemble([bundle("resnet")], repository, runtime="python", overlays=overlays)
        wait_until(lambda: "tritonclip_overlay" in config().parameters)
        assert not config().response_cache.enable
