"""Real things that several tests share: bundles, a repository, a running server."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from readiness import until_ready

if TYPE_CHECKING:
    from tritonclip_export.server.server import Server

# A shell's background jobs are started with SIGINT ignored and hand that down, and some tests
# interrupt what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
DEMO_CHECKPOINT = ROOT / "demo" / "checkpoint"
SHARED: list[Server] = []
"""The server of all tests, while it runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files that compute with files that wait, so that workers seldom want the same."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    at: dict[Path, float] = {}
    for kind in (True, False):
        some = [file for file in files if _computes(file) == kind]
        at |= {file: number / len(some) for number, file in enumerate(some)}
    items[:] = [item for file in sorted(files, key=at.__getitem__) for item in files[file]]


def _computes(file: Path) -> bool:
    room, *below = file.relative_to(ROOT / "tests").parts
    return room in ("export", "model_repository") and "server" not in below


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def twemoji() -> dict[str, bytes]:
    """The held-out drawings: PNG files by label."""
    with zipfile.ZipFile(ROOT / "demo" / "twemoji.zip") as archive:
        labels = json.loads(archive.read("labels.json"))
        return {label: archive.read(f"{slug}.png") for slug, label in labels.items()}


@pytest.fixture(scope="session", autouse=True)
def translations_read_once() -> Iterator[None]:
    """PyTorch's exporter reads all its translations for each trace: a fifth of a small one."""
    if "torch" not in sys.modules:  # then nothing here traces
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(ONNXRegistry.from_torchlib)
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(read))
        yield


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Folders that all workers of a run share: the first to ask for one makes it, to be read only.

    They live in the temporary root of the run, so none is older than the code under test.
    """
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder = home / "shared" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=home) as staging:
                    made = Path(staging) / folder.name
                    make(made)
                    made.rename(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def checkpoint_folder(made_once: MadeOnce) -> Callable[[str], Path]:
    """Folders of the checkpoints `demo`, `siglip`, `resnet` and `vit` (open_clip) and
    `chinese_clip` (transformers), the random ones made once."""
    from checkpoints import RESNET, SIGLIP, VIT, write_checkpoint
    from transformers_checkpoints import write_transformers_checkpoint

    configs = {"siglip": SIGLIP, "resnet": RESNET, "vit": VIT}

    def make(folder: Path) -> None:
        if folder.name in configs:
            write_checkpoint(folder, configs[folder.name], seed=7)
        else:
            write_transformers_checkpoint(folder, folder.name)

    def get(name: str) -> Path:
        return DEMO_CHECKPOINT if name == "demo" else made_once(f"checkpoints/{name}", make)

    return get


@pytest.fixture(scope="session")
def dual_encoder(checkpoint_folder: Callable[[str], Path]) -> Callable[[str], object]:
    """Loaded checkpoints by name."""
    from tritonclip_export.checkpoint.loading import load, parse

    return functools.cache(lambda name: load(parse(str(checkpoint_folder(name)))))


@pytest.fixture(scope="session")
def bundle(dual_encoder: Callable[[str], object], made_once: MadeOnce) -> Callable[[str], object]:
    """Exported bundles by name."""
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.export.writing import export

    def make(folder: Path) -> None:
        export(dual_encoder(folder.name), folder, name=folder.name, max_batch=32)

    return functools.cache(lambda name: Bundle.load(made_once(f"bundles/{name}", make)))


@pytest.fixture(scope="session")
def external_data_bundle(dual_encoder: Callable[[str], object], made_once: MadeOnce) -> object:
    """`resnet` with its towers' weights beside the graphs, as for towers past two gigabytes.

    The limit is lowered so that a small model crosses it.
    """
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.export.writing import export
    from tritonclip_export.graph import tracing

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tracing, "EXTERNAL_DATA_FROM_BYTES", 1_000_000)
            export(dual_encoder("resnet"), folder, name="big", max_batch=2)

    return Bundle.load(made_once("bundles/big", make))


@pytest.fixture(scope="session")
def tokens_bundle(
    dual_encoder: Callable[[str], object], made_once: MadeOnce
) -> Callable[[str], object]:
    """Exported bundles by name, with the vectors of patches and of tokens beside the embeddings."""
    from tritonclip_export.bundle import Bundle, Tower
    from tritonclip_export.export.writing import export

    layers: dict[Tower, int] = {"image": -2, "text": -1}

    def make(folder: Path) -> None:
        export(dual_encoder(folder.name), folder, name=folder.name, max_batch=4, tokens=layers)

    return functools.cache(lambda name: Bundle.load(made_once(f"tokens/{name}", make)))


@pytest.fixture(scope="session")
def repository(bundle: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One repository with all the bundles."""
    from tritonclip_export.repository.assemble import assemble

    target = tmp_path_factory.mktemp("assembled") / "repository"
    names = ("demo", "siglip", "resnet", "chinese_clip")
    assemble([bundle(name) for name in names], target, runtime="python")
    return target


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[object]:
    """A server of that repository on free ports, started again when it breaks, as `serve` does.

    Triton 2.51 ends with a segmentation fault now and then when a client goes away.
    """
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Server

    # Nothing is in flight at the end, but connections that are kept alive would be waited for.
    with Server(repository, ports=Ports(0, 0, 0), stop_timeout=2, restart=True) as running:
        SHARED.append(running)
        yield running
        SHARED.clear()
        running.wait(0)  # says how it ended, should it have done so by itself


@pytest.fixture(autouse=True)
def server_is_back(request: pytest.FixtureRequest) -> None:
    """Begin once the shared server is well, which the test before may have broken."""
    if "server" in request.fixturenames:
        for shared in SHARED:
            until_ready(shared.http_url)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes file systems of so many KiB."""
    with ExitStack() as mounted:

        def make(size: int) -> Path:
            folder = tmp_path / f"disk-{size}"
            folder.mkdir()
            options = ("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder))
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("mounting wants root")
            mounted.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
            return folder

        yield make


@pytest.fixture
def environment() -> dict[str, str]:
    """For command lines in subprocesses: no colours, a fixed width."""
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}


@pytest.fixture
def one_core() -> Iterator[int]:
    """The number of the core that this process, and what it starts, is bound to."""
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    os.sched_setaffinity(0, {core})
    yield core
    os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium. It ends with the module: until then its event loop is in the way of others."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium here; `apt-get install chromium` brings it")
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it has none
        yield playwright.chromium.launch(executable_path=chromium, args=sandbox)
