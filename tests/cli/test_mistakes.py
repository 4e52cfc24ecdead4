"""No mistake in any option of any command ends in a traceback, or in work that is for nothing."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer.main
from PIL import Image

from hollow_bundle import hollow_bundle
from mistakes import Option, cells, options, run, wrong
from tritonclip import retry

# A command line without mistakes for each command whose arguments or options cannot be left out,
# which ends soon: nothing that these lead to can be served, exported or built.
BASES = {
    "export": ["ViT-B-32"],
    "build": ["bundle"],
    "assemble": ["bundle"],
    "verify": ["bundle"],
    "serve": ["folder", "--container", "--dry-run"],
    "gateway": ["--host", "192.0.2.1"],  # no address of this machine, so it listens on none
    "up": ["folder", "--host", "192.0.2.1"],
    "embed": ["pictures/a.png"],
    "classify": ["pictures/a.png", "--labels", "a,b"],
    "bulk": ["pictures", "--out", "vectors"],
    "index": ["pictures"],
    "search": ["a"],
    "tag": ["--labels", "a"],
    "moderate": ["pictures", "--policy", "policy.yaml"],
    "policy check": ["policy.yaml"],
    "policy calibrate": ["policy.yaml", "--labels", "labels.csv"],
    "policy evaluate": ["policy.yaml", "--labels", "labels.csv"],
    "policy audit": ["file.txt"],
    "policy replay": ["policy.yaml"],
    "policy attack": ["policy.yaml", "pictures"],
    "head train": ["labels.csv"],
    "head apply": ["file.txt"],
    "head info": ["file.txt"],
    "bench": ["--workloads", "text-short"],
    "capacity": ["--from", "file.txt", "--peak", "1"],
    "cost": ["--rate", "10", "--items", "10"],
    "tune": ["folder", "--workloads", "text-short"],
}
# For options that exclude others of these.
WITHOUT = {
    "export --random-weights": ["folder"],
    "classify --labels": ["pictures/a.png"],
    "classify --labels-file": ["pictures/a.png"],
    "tag --labels": [],
    "tag --labels-file": [],
    "cost --from": ["--items", "10"],
    "cost --video-hours": ["--rate", "10"],
}
POLICY = """\
name: small
neutral: [an animal, a plant]
rules:
  - {name: weapon, any: [a dagger], action: block}
"""
OPTIONS = list(options())
COMMANDS = sorted({option.command for option in OPTIONS})


class Answering(BaseHTTPRequestHandler):
    """Counts requests, and has nothing for any of them."""

    asked = 0

    def do_GET(self) -> None:
        Answering.asked += 1
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def world(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with all that `MISTAKES` names, and a server that can be asked in vain."""
    for folder in ("folder", "pictures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file.txt").write_text("a cat\n")
    (tmp_path / "dangling").symlink_to("no-such-target/x")
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures/a.png")
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "labels.csv").write_text("path,label,weapon\npictures/a.png,black,1\n")
    hollow_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    environment = {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    environment["TRITONCLIP_URL"] = url
    # Taken already, so that a gateway listens on no address at all.
    environment["TRITONCLIP_GATEWAY_PORT"] = url.rpartition(":")[2]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    # Made anew for each call, the commands would take most of the time.
    monkeypatch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_is_refused_in_words_before_anything_is_done(command: str, world: Path) -> None:
    answered = []
    for cell in cells(OPTIONS, command, BASES.get(command, []), WITHOUT):
        before, asked = files_in(world), Answering.asked
        answer = run(cell.arguments)
        wrote = [name for name, time in files_in(world).items() if before.get(name) != time]
        reason = wrong(cell, answer, asked=Answering.asked > asked, wrote=wrote)
        answered.append((cell, reason, answer.err))

    bad = [f"{cell} {reason}:\n{said}" for cell, reason, said in answered if reason]
    assert answered
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_a_number_says_how_small_it_may_be(option: Option) -> None:
    """Scores and weights alone may be anything."""
    assert option.kind != "count", f"{option}: give it a `min`"
    assert option.kind != "real" or option.flag in {"--weight", "--above"}


def files_in(folder: Path) -> dict[str, int]:
    """When each was written."""
    return {
        os.path.join(home, name): os.lstat(os.path.join(home, name)).st_mtime_ns  # noqa: PTH118
        for home, _, names in os.walk(folder)
        for name in names
    }
