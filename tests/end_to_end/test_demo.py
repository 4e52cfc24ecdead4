"""`make demo`, run as its user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SECONDS = 240


@dataclass(frozen=True)
class Demo:
    status: int
    printed: str
    output: Path


def start(output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--output", str(output)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        cwd=output.parent,  # not the checkout: it must find its own files
    )


def servers_of(output: Path) -> list[str]:
    """Command lines of the processes that serve the demo's repository."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended meanwhile
        if f"{output}/repository" in line:
            lines.append(line)
    return lines


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    output = tmp_path_factory.mktemp("demo") / "made"
    process = start(output)
    try:
        printed, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return Demo(process.returncode, printed, output)


def test_it_ends_well_and_leaves_no_server(demo: Demo) -> None:
    assert demo.status == 0, demo.printed
    assert servers_of(demo.output) == []


def test_what_it_prints_is_for_people(demo: Demo) -> None:
    assert "Traceback" not in demo.printed
    assert "Warning" not in demo.printed
    assert "\x1b" not in demo.printed  # it was not printed to a terminal
    stages = [
        "Export",
        "Assemble",
        "Serve",
        "Verify",
        "Embed",
        "Classify",
        "Search",
        "Archive",
        "Look",
        "Stop",
    ]
    for stage in [*stages, "total"]:
        assert re.search(rf"^  {stage} +\d+\.\d s", demo.printed, re.MULTILINE), stage


def test_the_accuracy_is_that_of_the_embeddings_it_wrote(demo: Demo) -> None:
    pictures = np.load(demo.output / "pictures.npz")
    names = np.load(demo.output / "names.npz")
    with zipfile.ZipFile(ROOT / "demo" / "twemoji.zip") as drawings:
        labels = json.loads(drawings.read("labels.json"))

    hits = {1: 0, 5: 0}
    for file, vector in zip(pictures["names"], pictures["embeddings"], strict=True):
        nearest = np.argsort(-(names["embeddings"] @ vector))
        for k in hits:
            hits[k] += labels[Path(str(file)).stem] in names["names"][nearest[:k]]

    shares = [f"{hits[k] / len(labels):.1%}" for k in (1, 5)]
    assert re.findall(r"right at once (\S+), among five (\S+) ", demo.printed) == [tuple(shares)]


def test_the_contact_sheet_is_a_picture_of_readable_size(demo: Demo) -> None:
    with Image.open(demo.output / "contact_sheet.png") as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        assert sheet.width == 1600
        assert 1000 < sheet.height < 2000
        assert len(sheet.resize((400, 400)).getcolors(400 * 400) or []) > 100  # not a blank one


def test_the_film_is_found_by_the_second(demo: Demo) -> None:
    assert re.search(r" 00:00:\d\d-00:00:\d\d +320 x 240", demo.printed)
    with Image.open(demo.output / "timeline.png") as drawn:
        assert drawn.width == 1200


@pytest.mark.slow  # what ends servers is tested in export/server, with all that can end their owner
def test_ctrl_c_stops_it_and_its_server(demo: Demo) -> None:
    process = start(demo.output)
    assert process.stdout is not None
    for line in process.stdout:
        if "all models are ready" in line:
            break
    assert servers_of(demo.output)

    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()

    assert process.wait(SECONDS) == 130
    assert time.monotonic() - began < 30
    assert "Traceback" not in rest
    assert servers_of(demo.output) == []
