"""Broken input and many requests; `make torture` sends more of both."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.studies.fuzz import fuzz
from benchmarks.studies.soak import soak
from tritonclip_export.repository.assemble import assemble


@pytest.fixture(scope="module")
def seed() -> int:
    chosen = int(os.environ.get("TORTURE_SEED", random.randrange(10**6)))
    print(f"TORTURE_SEED={chosen}")
    return chosen


@pytest.fixture(scope="module")
def repository(bundle: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input") / "repository"
    assemble([bundle("demo")], folder, runtime="python")
    return folder


def test_broken_input_is_embedded_or_refused_and_costs_its_neighbours_nothing(
    repository: Path, seed: int
) -> None:
    items = int(os.environ.get("TORTURE_ITEMS", 300))
    run = fuzz(repository, items, items, seed)

    expected = {
        f"{kind} {what}" for kind in ("picture", "text") for what in ("embedded", "refused")
    }
    assert run["outcomes"].keys() == {*expected, "good: right"}
    assert sum(run["outcomes"].values()) == 2 * items + 2 * items // 3
    assert not run["died"]
    assert run["shared_mib"][1] <= run["shared_mib"][0] + 2


@pytest.mark.slow
def test_a_server_does_not_grow_with_what_it_is_asked(repository: Path, seed: int) -> None:
    requests = int(os.environ.get("TORTURE_REQUESTS", 3000))
    run = soak(repository, requests, seed)

    assert run["outcomes"] == {"answered": requests}
    for name, room in {"shared_mib": 2, "files": 8, "threads": 8}.items():
        assert run["held"][name]["last"] <= run["held"][name]["first"] + room
