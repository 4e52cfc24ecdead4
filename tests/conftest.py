"""Real things that several tests share: bundles, a repository, a running server."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# A shell's background jobs are started with SIGINT ignored and hand that down, and some tests
# interrupt what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
DEMO_CHECKPOINT = ROOT / "demo" / "checkpoint"


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


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of the checkpoints `demo`, `siglip` and `resnet` (open_clip) and `chinese_clip`
    (transformers), the random ones made once."""
    from checkpoints import RESNET, SIGLIP, VIT, write_checkpoint
    from transformers_checkpoints import write_transformers_checkpoint

    home = tmp_path_factory.mktemp("checkpoints")
    made = {"demo": DEMO_CHECKPOINT}

    def folder(name: str) -> Path:
        if name == "chinese_clip" and name not in made:
            made[name] = write_transformers_checkpoint(home / name, name)
        elif name not in made:
            config = {"siglip": SIGLIP, "resnet": RESNET, "vit": VIT}[name]
            made[name] = write_checkpoint(home / name, config, seed=7)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def dual_encoder(checkpoint_folder: Callable[[str], Path]) -> Callable[[str], object]:
    """Loaded checkpoints by name."""
    from tritonclip_export.checkpoint.loading import load, parse

    loaded: dict[str, object] = {}

    def get(name: str) -> object:
        if name not in loaded:
            loaded[name] = load(parse(str(checkpoint_folder(name))))
        return loaded[name]

    return get


@pytest.fixture(scope="session")
def bundle(
    dual_encoder: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], object]:
    """Exported bundles by name."""
    from tritonclip_export.export.writing import export

    home = tmp_path_factory.mktemp("bundles")
    exported: dict[str, object] = {}

    def get(name: str) -> object:
        if name not in exported:
            exported[name] = export(dual_encoder(name), home / name, name=name, max_batch=32)
        return exported[name]

    return get


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
    """A server of that repository on free ports."""
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Server

    with Server(repository, ports=Ports(0, 0, 0)) as running:
        yield running


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
