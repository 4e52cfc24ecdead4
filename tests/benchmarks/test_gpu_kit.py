"""The kit for a lent card: what travels arrives whole, and what was measured stays."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.gpu import page, payload, plan
from benchmarks.gpu.journal import Journal, TimeIsUpError, read

LIMIT = 3 * 2**16
CONTENTS = {"a.whl": bytes(range(256)) * 2000, "b.whl": b"b", "c.tar.xz": b"cd" * 70_000}


@pytest.fixture
def kit(tmp_path: Path) -> list[Path]:
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    payloads = {"first": [tmp_path / "a.whl", tmp_path / "b.whl"], "last": [tmp_path / "c.tar.xz"]}
    return payload.pack(payloads, tmp_path / "kit", LIMIT)


def test_folders_are_small_and_make_the_same_files_in_any_order(
    kit: list[Path], tmp_path: Path
) -> None:
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in kit]
    assert max(sizes) <= LIMIT
    home = tmp_path / "home"

    for folder in [*reversed(kit[1:]), kit[-1]]:
        assert "first" not in payload.receive(folder, home)
    whole = payload.receive(kit[0], home)

    assert list(whole) == ["first", "last"]
    for file in (*whole["first"], *whole["last"]):
        assert file.read_bytes() == CONTENTS[file.name]


def test_a_piece_that_was_damaged_is_refused_and_can_come_again(
    kit: list[Path], tmp_path: Path
) -> None:
    damaged = shutil.copytree(kit[0], tmp_path / "damaged")
    (damaged / "a.whl.0").write_bytes(b"?")

    with pytest.raises(payload.PayloadError, match=r"a\.whl\.0 was damaged"):
        payload.receive(damaged, tmp_path / "home")

    for folder in kit:
        whole = payload.receive(folder, tmp_path / "home")
    assert set(whole) == {"first", "last"}


def test_pieces_of_two_kits_are_not_mixed(kit: list[Path], tmp_path: Path) -> None:
    changed = tmp_path / "a.whl"
    changed.write_bytes(bytes(len(CONTENTS["a.whl"])))
    others = payload.pack({"first": [changed]}, tmp_path / "other", LIMIT)
    payload.receive(kit[0], tmp_path / "home")

    for folder in others[1:-1]:
        payload.receive(folder, tmp_path / "home")

    with pytest.raises(payload.PayloadError, match=r"a\.whl is not what was packed"):
        payload.receive(others[-1], tmp_path / "home")


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    file = tmp_path / "towers.jsonl"
    first = Journal(file, seconds=60)
    first.measure("good", lambda: {"per_second": 1234.567, "nothing": math.nan})
    first.measure("bad", lambda: {"per_second": 1 / 0})

    again = Journal(file, seconds=60)
    again.measure("good", lambda: pytest.fail("it was measured before"))
    again.measure("bad", lambda: {"per_second": 2.0})

    good, bad = read(file)
    assert (good["per_second"], good["nothing"]) == (1235.0, None)
    assert (bad["per_second"], "error" in bad) == (2.0, False)


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "towers.jsonl", seconds=0)
    time.sleep(0.01)
    with pytest.raises(TimeIsUpError):
        journal.measure("late", dict)
    assert read(tmp_path / "towers.jsonl") == []


def test_the_plan_fits_into_the_lease() -> None:
    steps = sum(step.seconds for step in plan.STEPS)
    assert plan.ARRIVAL_SECONDS + steps <= plan.LEASE_SECONDS


def test_the_page_says_that_there_was_no_card_whatever_a_cpu_has_shown(tmp_path: Path) -> None:
    _write(tmp_path, {"key": "a", "at": "2026-01-02T", "card": "no card", "tflops": 1.0})
    ((name, content),) = page.pages(tmp_path)
    assert name == "gpu.md"
    assert "No card yet" in content
    assert "tflops" not in content


def test_the_page_shows_what_a_card_has_shown_and_what_failed(tmp_path: Path) -> None:
    card = {"at": "2026-01-02T03:04:05", "card": "A card, driver 1"}
    _write(
        tmp_path,
        {"key": "8192 cubed", **card, "tflops": 700.5, "share": 0.61},
        {"key": "worse", **card, "error": "MemoryError: none"},
    )
    ((_, content),) = page.pages(tmp_path)
    assert "## A card, driver 1" in content
    assert "2026-01-02." in content
    assert "| 8192 cubed | 700.5 | 61% |" in content
    assert "- worse: MemoryError: none" in content
    assert "No card yet" not in content


def _write(results: Path, *lines: dict[str, object]) -> None:
    (results / "gpu").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (results / "gpu" / "ceiling.jsonl").write_text(text)
