"""A repository that is changed at random, crashes included, while a server polls and is asked."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tritonclip import Client
from tritonclip_export import precision
from tritonclip_export.bundle import Bundle
from tritonclip_export.parity.inputs import Inputs
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

PICTURE, TEXT = sample_images()[0].read_bytes(), "a photo of a cat"
SETTLED_SECONDS = 60.0

CRASH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from crashing import die_at
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
repository, number, precision, prune, *bundles = sys.argv[2:]
die_at(int(number), repository, publishing_only=False)
assemble(
    [Bundle.load(Path(bundle)) for bundle in bundles],
    Path(repository),
    runtime="python",
    execution=Execution(precision=precision),
    prune=prune == "True",
)
"""

Vectors = dict[str, np.ndarray]


def embed(client: Client) -> Vectors:
    return {"image": client.embed_images(PICTURE), "text": client.embed_texts(TEXT)}


def is_same(found: Vectors, expected: Vectors) -> bool:
    return all(np.allclose(found[tower], expected[tower], atol=1e-5) for tower in expected)


class Life(RuleBasedStateMachine):
    """A bundle that is always there in one of two precisions, and one that comes and goes."""

    models: ClassVar[dict[str, Bundle]]
    expected: ClassVar[dict[str, Vectors]]
    folders: ClassVar[Iterator[Path]]

    @initialize()
    def serve(self) -> None:
        """A server that looks for changes once a second, and somebody who asks all the time."""
        self.repository = next(self.folders) / "repository"
        self.precision, self.names = "fp32", ("kept",)
        self._assemble()
        self.server = Server(
            self.repository,
            ports=Ports(0, 0, 0),
            control="poll",
            poll_seconds=1,
            restart=True,  # as `serve` does: Triton itself dies of loading and unloading at times
            log=print,
        )
        self.server.start()
        self.waiting = threading.Thread(target=self.server.wait)
        self.waiting.start()
        self.wrong: list[object] = []
        self.stop = threading.Event()
        self.asking = threading.Thread(target=self._keep_asking)
        self.asking.start()

    @rule(precision=st.sampled_from(["fp32", "int8"]))
    def assemble_in(self, precision: str) -> None:
        self.precision = precision
        self._assemble()
        self._settle()

    @precondition(lambda self: "guest" not in self.names)
    @rule()
    def add(self) -> None:
        self.names = ("kept", "guest")
        self._assemble()
        self._settle()

    @precondition(lambda self: "guest" in self.names)
    @rule()
    def remove(self) -> None:
        self.names = ("kept",)
        self._assemble(prune=True)
        self._settle()

    @rule(
        number=st.integers(1, 120),
        precision=st.sampled_from(["fp32", "int8"]),
        names=st.sampled_from([("kept",), ("kept", "guest")]),
    )
    def crash(self, number: int, precision: str, names: tuple[str, ...]) -> None:
        """A change that is killed at one of its operations; the server goes on with what is there.

        The next run mends the repository.
        """
        prune = str("guest" not in names)
        paths = [str(self.models[name].path) for name in names]
        words = [
            str(Path(__file__).parents[1]),
            str(self.repository),
            str(number),
            precision,
            prune,
        ]
        done = subprocess.run([sys.executable, "-c", CRASH, *words, *paths], capture_output=True)
        assert done.returncode in (0, 9), done.stderr
        time.sleep(2.5)  # the server looks at what the crash left
        self.precision, self.names = precision, names
        self._assemble(prune=True)
        self._settle()

    def teardown(self) -> None:
        if hasattr(self, "asking"):
            self.stop.set()
            self.asking.join()
            self.server.stop()
            self.waiting.join()
            assert self.wrong == []

    def _assemble(self, *, prune: bool = False) -> None:
        assemble(
            [self.models[name] for name in self.names],
            self.repository,
            runtime="python",
            execution=Execution(precision=self.precision),  # type: ignore[arg-type]
            prune=prune,
        )

    def _settle(self) -> None:
        """Wait until the server shows the repository as it is now."""
        end = time.monotonic() + SETTLED_SECONDS
        found: Any = None
        while time.monotonic() < end:
            with Client(self.server.grpc_url, model="kept") as client:
                found = client.models(), embed(client)
                if found[0] == sorted(self.names) and is_same(
                    found[1], self.expected[self.precision]
                ):
                    return
            time.sleep(0.3)
        raise AssertionError(f"{self.names} in {self.precision} never came: {found}")

    def _keep_asking(self) -> None:
        with Client(self.server.grpc_url, model="kept") as client:
            while not self.stop.is_set():
                try:
                    found = embed(client)
                except Exception as error:
                    self.wrong.append(error)
                    continue
                for tower, vector in found.items():
                    if not any(
                        np.allclose(vector, e[tower], atol=1e-5) for e in self.expected.values()
                    ):
                        self.wrong.append((tower, vector))


def renamed(source: Bundle, folder: Path) -> Bundle:
    shutil.copytree(source.path, folder)
    copy = Bundle(path=folder, info=source.info.model_copy(update={"name": folder.name}))
    copy.save()
    return copy


@pytest.mark.slow
def test_whatever_happens_to_a_repository_its_server_has_whole_models(
    bundle: Callable[[str], Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Bundle.load(Path(shutil.copytree(bundle("demo").path, tmp_path / "source")))
    inputs = Inputs.read(sample_images(), sample_texts())
    source = precision.write(source, "int8", inputs=inputs)
    kept, guest = (renamed(source, tmp_path / name) for name in ("kept", "guest"))
    expected = {}
    for wanted in ("fp32", "int8"):
        folder = tmp_path / wanted
        assemble([kept], folder, runtime="python", execution=Execution(precision=wanted))
        with Server(folder, ports=Ports(0, 0, 0)) as server, Client(server.grpc_url) as client:
            expected[wanted] = embed(client)
    assert not is_same(expected["fp32"], expected["int8"])
    monkeypatch.setattr(Life, "models", {"kept": kept, "guest": guest}, raising=False)
    monkeypatch.setattr(Life, "expected", expected, raising=False)
    folders = (tmp_path / f"life-{number}" for number in itertools.count())
    monkeypatch.setattr(Life, "folders", folders, raising=False)

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=4,
            stateful_step_count=8,
            deadline=None,
            phases=[Phase.generate],  # what fails is shown as it is: each step takes seconds
            suppress_health_check=list(HealthCheck),
        ),
    )
